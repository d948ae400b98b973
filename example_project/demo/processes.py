"""The processes of the demo: started, watched, and ended by their ids."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

TOP = Path(__file__).parent.parent.parent
PATIENCE = 15.0
"""Seconds that a process gets to end before it is killed."""


class Processes:
    """The web server and the worker; leaving the context ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, *arguments: str) -> None:
        """Start a module of Python; what it prints goes to `<name>.log`."""
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                # Not even a demo that is killed leaves one behind.
                ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", *arguments],
                cwd=TOP,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the demo, which ends them in order.
                start_new_session=True,
            )

    def ended(self) -> str:
        """Return what to say of a process that ended by itself; blank while all run."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log = (self._folder / f"{name}.log").read_text(errors="replace")
                return f"The {name} ended by itself:\n{log[-2000:]}"
        return ""


def end_sites(deploy_paths: Iterable[Path]) -> None:
    """End the sites' gunicorns by their pid files, where these still name them."""
    masters = [pid for path in deploy_paths if (pid := master_of(path))]
    for pid in masters:
        os.kill(pid, signal.SIGTERM)
    if not wait_for(lambda: not any(map(_runs, masters)), PATIENCE):
        for pid in filter(_runs, masters):
            os.kill(pid, signal.SIGKILL)


def master_of(deploy_path: Path) -> int:
    """Return the id of a site's gunicorn; 0 where none runs."""
    try:
        pid = int((deploy_path / ".deploy/gunicorn.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if str(deploy_path).encode() in command else 0


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
