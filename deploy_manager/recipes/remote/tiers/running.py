"""Running programs of the system."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 120.0
"""Seconds: a database may take that long to start."""

MASK = "********"
MOST_SHOWN = 3000
"""Characters of what a program said."""


class TierError(Exception):
    """The reason why a tier is not as wanted, for people."""


def require(program: str) -> None:
    """Raise TierError if a program of the system is not installed."""
    if shutil.which(program, path=PATH) is None:
        raise TierError(f"{program} is missing here: run `manage.py provision`, or install it.")


def attempt(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Return how a program ended. Raises TierError if it is missing or does not end."""
    require(words[0])
    try:
        return subprocess.run(
            words,
            input=stdin,
            # A database's own tools warn if they may not enter the folder of whoever called.
            cwd="/",
            env={"PATH": PATH, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TierError(f"{' '.join(words)}: not ended after {TIMEOUT:.0f} seconds.") from None


def call(*words: str, stdin: str = "") -> str:
    """Return what a program prints. Raises TierError with its own words if it fails."""
    done = attempt(*words, stdin=stdin)
    if done.returncode:
        raise TierError(f"{' '.join(words)}: {said_by(done)}")
    return done.stdout


def said_by(done: subprocess.CompletedProcess[str]) -> str:
    """Return the end of what a program said."""
    said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
    if len(said) <= MOST_SHOWN:
        return said
    # In whole lines: what began within one could begin within a secret, unknown as such.
    return said[-MOST_SHOWN:].partition("\n")[2] or "(Its last line is too long to be shown.)"


def masked(text: str, secrets: Sequence[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, MASK)
    return text
