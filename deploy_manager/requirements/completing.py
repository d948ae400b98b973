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
from deploy_manager.requirements.reading import read_pins

TIMEOUT = 120.0
"""Seconds."""

_OPTIONS = (
    "--quiet",
    "--universal",
    "--generate-hashes",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
)


def complete_pins(
    text: str, path: str = "requirements.txt", python_version: str = ""
) -> tuple[Pin, ...]:
    """Return the full set of pins, with hashes, that satisfies a requirements file's text.

    `python_version` is the servers', like 3.12; blank: the worker's own. Raises PinError in the
    resolver's own words, or where uv is not installed.
    """
    options = [*_OPTIONS, *(["--python-version", python_version] if python_version else [])]
    try:
        done = _compile(text, options)
    except subprocess.TimeoutExpired:
        raise PinError(f"uv found no full set of pins within {TIMEOUT:g} s.") from None
    if done.returncode:
        reason = mask(done.stderr.strip().encode()).decode()
        raise PinError(f"{path} can't be completed:\n{reason}")
    return read_pins(done.stdout, path)


def _compile(text: str, options: list[str]) -> "subprocess.CompletedProcess[str]":
    # A file, since of what it reads from a pipe uv does not note who asked for it.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        asked = Path(folder) / "requirements.in"
        asked.write_text(text, encoding="utf-8")
        return subprocess.run(
            [_uv(), "pip", "compile", str(asked), *options],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )


def _uv() -> str:
    """The command, from this interpreter's own environment or from PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("uv", path=os.pathsep.join(folders))
    if found is None:
        raise PinError("uv is not installed here: pip install 'deploy-manager[uv]'.")
    return found
