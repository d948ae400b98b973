"""Look what a server lacks for a site; with `changes`, install it, and look again.

Reads JSON from stdin: the fields of recipes/machine.py and `changes`, `linger`, `cron` and `wanted`
(lines that say all that is needed). Prints a line for each change; problems go to stderr, and the
exit code is 1. If there is a problem, nothing is changed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator

from . import accounts, apt, folders, servers, sudoers
from .changes import Change, Facts, Problem, file_changes, unchecked

LOCK = "/run/deploy_manager-provision.lock"
OLDEST = {"debian": 12.0, "ubuntu": 22.04}


def main() -> None:
    facts: Facts = json.load(sys.stdin)
    try:
        print(require_system(facts), flush=True)
        provision(facts)
    except Problem as problem:
        sys.exit(str(problem))


def provision(facts: Facts) -> None:
    """Show all changes, or make them. Raises Problem."""
    if not facts["changes"]:
        changes = checked(facts)
        for change in changes:
            show(change)
        finish(facts, changes, "Nothing was changed: this only shows it.")
        return
    with open(os.open(LOCK, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        take(lock.fileno())
        changes = checked(facts)
        for change in changes:
            show(change)
            make(change)
        if left := checked(facts):
            lines = "\n".join(change.line for change in left)
            raise Problem(f"This is missing still, though it was made just now:\n{lines}")
    finish(facts, changes, "Done: nothing is missing any more.")


def checked(facts: Facts) -> list[Change]:
    """Return all changes. Raises Problem with all problems together."""
    changes, problems = look(facts)
    if problems:
        raise Problem("\n".join(problems))
    return changes


def look(facts: Facts) -> tuple[list[Change], list[str]]:
    changes: list[Change] = []
    problems: list[str] = []
    # In this order: what fails most, packages, comes before all else.
    for part in (apt.look, accounts.look, folders.look, of_files, servers.look, sudoers.look):
        try:
            changes += part(facts)
        except Problem as problem:
            problems.append(str(problem))
    return changes, problems


def of_files(facts: Facts) -> Iterator[Change]:
    """Yield a change for each file, and one for all of our own programs, which nobody reads."""
    programs: list[Change] = []
    paths: list[str] = []
    for file in facts["needs"]["files"]:
        found = list(file_changes(file["path"], file["text"], file["mode"], unchecked))
        if file["is_program"]:
            programs += found
            paths.append(file["path"])
        else:
            yield from found
    if programs:
        folder = os.path.commonpath(paths)
        line = f"+ {folder} ({len(programs)} files: the program that sudo allows)"
        yield Change(line, lambda: make_all(programs))


def make_all(changes: list[Change]) -> None:
    for change in changes:
        change.make()


def show(change: Change) -> None:
    print(change.line)
    for line in change.detail.splitlines():
        print(f"    {line}")
    sys.stdout.flush()


def make(change: Change) -> None:
    try:
        change.make()
    except (OSError, KeyError) as error:
        raise Problem(f"{change.line.lstrip('+~- ')}: {error}") from None


def finish(facts: Facts, changes: list[Change], last: str) -> None:
    for remark in apt.remarks(facts):
        print(remark)
    if facts["makes_root"]:
        print(f"! {facts['makes_root']}")
    for note in facts["notes"]:
        print(f"! {note}")
    print(last if changes else "Nothing to change: nothing is missing.")


def take(lock: int) -> None:
    """Wait until nobody else provisions this server."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Waiting: another site is being provisioned here.", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def require_system(facts: Facts) -> str:
    """Return the system's name. Raises Problem for one that is not known, or if we are not root."""
    if os.geteuid():
        raise Problem("Provisioning needs root: enter root, or an account with sudo.")
    about = dict(line.strip().split("=", 1) for line in read_release().splitlines() if "=" in line)
    about = {name: value.strip("\"'") for name, value in about.items()}
    name, version = about.get("ID", ""), about.get("VERSION_ID", "")
    shown = about.get("PRETTY_NAME") or name or "This system"
    is_known = name in OLDEST and shutil.which("apt-get") is not None
    if is_known and (not version or float(version) >= OLDEST[name]):
        return shown
    wanted = "\n".join(facts["wanted"])
    raise Problem(
        f"{shown} is not provisioned from here: that is done for Debian 12 and later, and Ubuntu"
        f" 22.04 and later. Nothing was changed. This is what it needs:\n{wanted}"
    )


def read_release() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
