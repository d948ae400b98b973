"""From what a project asks for to everything that must be installed: resolved by uv."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy_manager.exceptions import PinError
from deploy_manager.logs import mask
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins, refuse_all_but_names

TIMEOUT = 120.0
"""Seconds."""

_OPTIONS = (
    "--quiet",
    "--color=never",
    "--no-python-downloads",
    "--universal",
    "--generate-hashes",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
)


def complete_pins(
    text: str, path: str = "requirements.txt", python_version: str = "", index_url: str = ""
) -> tuple[Pin, ...]:
    """Return the full set of pins, with hashes, that satisfies a requirements file's text.

    `python_version` is the oldest of the servers', like 3.12; blank: the worker's own. `index_url`
    blank: what uv's own configuration says. A package without a wheel is built here to learn what
    it needs. Raises PinError for lines that name more than packages, in the resolver's own words
    where it finds no answer, or where uv is not installed.
    """
    refuse_all_but_names(text, path)
    options = [*_OPTIONS]
    if python_version:
        options.append(f"--python-version={python_version}")
    if index_url:
        options.append(f"--default-index={index_url}")
    return read_pins(_compile(text, path, options), path)


def _compile(text: str, path: str, options: list[str]) -> str:
    # A file, since of what it reads from a pipe uv does not note who asked for it.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        asked = Path(folder) / "requirements.in"
        asked.write_text(text, encoding="utf-8", errors="replace")
        try:
            done = subprocess.run(
                [_uv(), "pip", "compile", str(asked), *options],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PinError(f"uv found no full set of pins within {TIMEOUT:g} s.") from None
    if done.returncode:
        reason = mask(done.stderr.strip()).decode(errors="replace").replace(str(asked), path)
        raise PinError(f"{path} can't be completed:\n{reason}")
    return done.stdout.decode()


def _uv() -> str:
    """The command, from this interpreter's own environment or from PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("uv", path=os.pathsep.join(folders))
    if found is None:
        raise PinError("uv is not installed here: pip install 'deploy-manager[uv]'.")
    return found
