"""Remove old releases and environments. Runs on the server, Python 3.8 or later.

Reads JSON: deploy_path, number (complete releases to keep), keep (names that stay anyway).
Prints what it removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys


def listed(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def is_complete(path: str) -> bool:
    return os.path.exists(os.path.join(path, ".complete"))


def remove(path: str) -> None:
    """A folder that is half removed must not look complete."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(path, ".complete"))
    shutil.rmtree(path)
    print("removed", path)


def remove_releases(folder: str, number: int, keep: set[str]) -> None:
    complete = [name for name in listed(folder) if is_complete(os.path.join(folder, name))]
    kept = set(complete[-number:]) | keep
    for name in listed(folder):
        if name not in kept:
            remove(os.path.join(folder, name))


def remove_environments(folder: str, releases: str) -> None:
    used = {
        os.path.basename(os.path.realpath(os.path.join(releases, name, "venv")))
        for name in listed(releases)
    }
    for name in listed(folder):
        if name not in used:
            remove(os.path.join(folder, name))


def main() -> None:
    facts = json.load(sys.stdin)
    top = facts["deploy_path"]
    current = os.path.join(top, "current")
    releases = os.path.join(top, "releases")
    keep = set(facts["keep"])
    if os.path.lexists(current):
        keep.add(os.path.basename(os.readlink(current)))
    remove_releases(releases, facts["number"], keep)
    remove_environments(os.path.join(top, "venvs"), releases)


main()
