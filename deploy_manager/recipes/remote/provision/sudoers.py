"""The one file of sudoers.d that is ours: written if it is needed, checked, taken away if not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from .changes import Change, Facts, Problem, ask, diff, file_changes, last_lines

HEADER = "# Written by deploy_manager for "
MODE = 0o440
WITH_EXPRESSIONS = (1, 9, 10)
"""The first sudo that knows regular expressions."""


def look(facts: Facts) -> Iterator[Change]:
    """Yield how the file changes. Raises Problem."""
    path, text = facts["sudoers_path"], facts["sudoers"]
    there = text_at(path)
    if there and not there.startswith(HEADER):
        raise Problem(f"{path} was not written from here: move it away.")
    if text:
        require_expressions()
        yield from file_changes(path, text, MODE, check)
    elif there:
        yield Change(
            f"- {path}: nothing in it is needed any more",
            lambda: os.remove(path),
            diff(path, there, ""),
        )


def text_at(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def require_expressions() -> None:
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", ask("sudo", "-V").stdout)
    if found and tuple(map(int, found.groups())) < WITH_EXPRESSIONS:
        raise Problem(
            f"sudo {found.group()[8:]} has no regular expressions, by which the account's rights"
            " are kept small: choose the supervisor systemd-user, which needs no sudo."
        )


def check(path: str) -> None:
    """Raise Problem if sudo could not read a file: a mistake would lock everybody out of sudo."""
    done = ask("visudo", "-cf", path)
    if done.returncode:
        raise Problem(f"visudo refuses the file: {last_lines(done.stdout + done.stderr)}")
