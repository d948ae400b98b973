"""A change of the server: one line for people, and what it does."""

from __future__ import annotations

import difflib
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Facts = dict[str, Any]

NETWORKING = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C"}
SHOWN_LINES = 15


class Problem(Exception):
    """Why the server can't be made what the site needs, and what to do about it."""


class Change(NamedTuple):
    """Something that the server lacks."""

    line: str
    """`+` for what is added, `~` for what is changed, `-` for what is taken away."""

    make: Callable[[], None]
    """Raises Problem."""

    detail: str = ""
    """How a file changes, as a unified diff."""


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """Return how a program ended and what it printed, in English."""
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **NETWORKING},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]}: {error.strerror}")


def do(*words: str) -> str:
    """Return what a program printed. Raises Problem with its last lines if it fails."""
    done = ask(*words)
    if done.returncode:
        raise Problem(f"`{' '.join(words)}` failed:\n{last_lines(done.stderr or done.stdout)}")
    return done.stdout


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-SHOWN_LINES:])


def file_changes(path: str, text: str, mode: int, check: Callable[[str], None]) -> Iterator[Change]:
    """Yield the change that makes root's file at a path have this text and mode, if it has not.

    `check` gets the path of the new file beside it, before it takes the other's place.
    """
    there, is_right = "", False
    try:
        facts = os.lstat(path)
        with open(path, encoding="utf-8", errors="replace") as file:
            there = file.read()
        is_right = facts.st_uid == 0 and facts.st_mode & 0o7777 == mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}") from None
    if there == text and is_right:
        return

    def make() -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        beside = f"{path}.new"  # sudo reads no file with a dot in its name
        try:
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
                os.fchmod(file.fileno(), mode)
                os.fchown(file.fileno(), 0, 0)
            check(beside)
            os.rename(beside, path)
        finally:
            if os.path.exists(beside):
                os.remove(beside)

    sign = "~" if there else "+"
    yield Change(f"{sign} {path} (mode {mode:o})", make, diff(path, there, text))


def diff(path: str, before: str, after: str) -> str:
    names = (path if before else "/dev/null", path if after else "/dev/null")
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="", n=2)
    return "\n".join(lines)


def unchecked(path: str) -> None:
    """Check nothing: any text will do."""
