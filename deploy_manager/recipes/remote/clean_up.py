"""Remove old releases and environments. Runs on the server, Python 3.8 or later.

Reads JSON: deploy_path, number (complete releases to keep), keep (names that stay anyway).
Archives that were sent and never unpacked go too. Prints what it removed. What can't be removed
stops nothing else: it is told at the end, with 1.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
from contextlib import suppress


def folders_in(folder: str) -> list[str]:
    """Return the names of real folders: files and links are nobody's release."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def is_complete(path: str) -> bool:
    return not path.endswith(".part") and os.path.exists(os.path.join(path, ".complete"))


def remove(path: str) -> list[str]:
    """Remove a folder; return why that failed. Half removed it must not look complete."""
    try:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(path, ".complete"))
        shutil.rmtree(path)
    except OSError as error:
        return [f"{path} could not be removed: {error}."]
    print("removed", path)
    return []


def remove_releases(folder: str, number: int, keep: set[str]) -> list[str]:
    names = folders_in(folder)
    newest_first = [name for name in reversed(names) if is_complete(os.path.join(folder, name))]
    kept = keep.union(newest_first[:number])
    return [why for name in names if name not in kept for why in remove(os.path.join(folder, name))]


def remove_environments(folder: str, releases: str) -> list[str]:
    links = (os.path.join(releases, name, "venv") for name in folders_in(releases))
    used = {os.path.basename(os.path.realpath(link)) for link in links}
    unused = (name for name in folders_in(folder) if name not in used)
    return [why for name in unused for why in remove(os.path.join(folder, name))]


def remove_archives(tools: str) -> list[str]:
    """A worker that takes over sends an archive again, though it is unpacked already."""
    failures = []
    for path in glob.glob(os.path.join(glob.escape(tools), "*.tar.gz")):
        try:
            os.unlink(path)
        except OSError as error:
            failures.append(f"{path} could not be removed: {error}.")
    return failures


def main() -> None:
    facts = json.load(sys.stdin)
    top = facts["deploy_path"]
    current = os.path.join(top, "current")
    releases = os.path.join(top, "releases")
    keep = set(facts["keep"])
    if os.path.lexists(current):
        keep.add(os.path.basename(os.path.realpath(current)))
    failures = remove_releases(releases, facts["number"], keep)
    failures += remove_environments(os.path.join(top, "venvs"), releases)
    failures += remove_archives(os.path.join(top, ".deploy"))
    if failures:
        sys.exit("\n".join(failures))


main()
