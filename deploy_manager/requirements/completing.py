"""From what a project asks for to everything that must be installed: resolved by uv."""

import tempfile
from pathlib import Path

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins, refuse_all_but_names
from deploy_manager.requirements.uv import run_uv

FULL = (
    "--generate-hashes",
    "--no-strip-extras",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
)
"""What makes the outcome of `uv pip compile` a lock."""


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
    options = [*FULL, "--universal"]
    if python_version:
        options.append(f"--python-version={python_version}")
    return read_pins(_compile(text, path, options, index_url), path)


def _compile(text: str, path: str, options: list[str], index_url: str) -> str:
    # A file, since of what it reads from a pipe uv does not note who asked for it.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        asked, lock = Path(folder) / "requirements.in", Path(folder) / "requirements.txt"
        asked.write_text(text, encoding="utf-8", errors="replace")
        words = ["pip", "compile", str(asked), f"--output-file={lock}", *options]
        if reason := run_uv(words, index_url):
            raise PinError(f"{path} can't be completed:\n{reason.replace(str(asked), path)}")
        return lock.read_text(encoding="utf-8")
