"""`python -m tests.benchmark_import`: what the app costs each command of a project that has it.

The same project, with the app and without it, by turns: so that a busy machine slows both. The
seconds are those of the processor, which say the same on a busy machine as on an idle one.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.test_imports import SETTINGS, URLS

ROUNDS = 15
JUDGED = "help"
COMMANDS = (JUDGED, "check", "showmigrations")
"""The others do work for the app itself: its checks, and the state of its migrations."""

WITHOUT = SETTINGS + '\nINSTALLED_APPS.remove("deploy_manager")\n'
MOST = 0.1
"""Seconds that the app may take of a command, on a machine whose Django starts in `USUAL`."""

USUAL = 0.33


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "small_urls.py").write_text(URLS)
        (path / "without_app.py").write_text(WITHOUT)
        (path / "with_app.py").write_text(SETTINGS)
        for command in COMMANDS:
            tell(command, path)


def tell(command: str, project: Path) -> None:
    seconds: dict[str, list[float]] = {"without_app": [], "with_app": []}
    for number in range(ROUNDS + 1):
        for settings, values in seconds.items():
            used = run(command, settings, project)
            if number:  # the first one compiles
                values.append(used)
    without, having = (statistics.median(values) for values in seconds.values())
    ratio = having / without
    line = f"{command:15} without {without:.3f} s, with {having:.3f} s: {having - without:+.3f} s,"
    line += f" x {ratio:.2f}"
    if command == JUDGED:
        verdict = "kept" if ratio <= 1 + MOST / USUAL else "MISSED"
        line += f" (at most x {1 + MOST / USUAL:.2f}: {verdict})"
    print(line)


def run(command: str, settings: str, project: Path) -> float:
    """Return the seconds of the processor that a command took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [sys.executable, "-m", "django", command, "--settings", settings]
    line += ["--pythonpath", str(project)]
    subprocess.run(line, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
