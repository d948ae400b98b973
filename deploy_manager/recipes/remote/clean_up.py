"""Remove old releases and environments. Runs on the server, Python 3.8 or later.

Reads JSON: deploy_path, number (complete releases to keep), keep (names that stay anyway).
An environment that was changed by hand has a newer one beside it, with a number behind its name:
the releases that are not serving are led there. Archives that were sent and never unpacked go too,
and wheels that no environment has any more, and variables of releases that are gone. Prints what it
removed: real folders directly in releases/ and venvs/, nothing else. What can't be removed stops
nothing else: it is told at the end, with 1.
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
    if os.path.islink(folder):
        print(folder, "is a link: what lies behind it is left as it is")
        return []
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


def lead_to_newest(releases: str, environments: str, current: str) -> list[str]:
    """Let releases use the newest environment of their pins; what serves keeps what it began with.

    Return why that failed.
    """
    newest = newest_of_each(environments)
    failures = []
    for release in folders_in(releases):
        link = os.path.join(releases, release, "venv")
        if release == current or not os.path.islink(link):
            continue
        folder, name = os.path.split(os.readlink(link))
        best = newest.get(name.partition(".")[0], name)
        if best != name:
            failures += lead(link, os.path.join(folder, best))
    return failures


def newest_of_each(environments: str) -> dict[str, str]:
    """Return the complete environment with the highest number by the name without it."""
    found: dict[str, tuple[int, str]] = {}
    for name in folders_in(environments):
        stem, _, number = name.partition(".")
        if is_complete(os.path.join(environments, name)) and (number or "1").isdigit():
            found[stem] = max(found.get(stem, (0, "")), (int(number or 1), name))
    return {stem: name for stem, (_, name) in found.items()}


def lead(link: str, target: str) -> list[str]:
    """Let a link lead elsewhere by one rename; return why that failed."""
    beside = link + ".new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        os.symlink(target, beside)
        os.replace(beside, link)
    except OSError as error:
        return [f"{link} could not be led to {target}: {error}."]
    return []


def remove_environments(folder: str, releases: str, current: str) -> list[str]:
    links = [os.path.join(releases, name, "venv") for name in folders_in(releases)]
    links.append(os.path.join(current, "venv"))
    used = {os.path.basename(os.path.realpath(link)) for link in links}
    unused = (name for name in folders_in(folder) if name not in used)
    return [why for name in unused for why in remove(os.path.join(folder, name))]


def remove_variables(folder: str, releases: str) -> list[str]:
    """Remove what releases that are gone had as variables."""
    failures = []
    for path in glob.glob(os.path.join(glob.escape(folder), "*")):
        if os.path.isdir(os.path.join(releases, os.path.basename(path))):
            continue
        try:
            os.unlink(path)
        except OSError as error:
            failures.append(f"{path} could not be removed: {error}.")
    return failures


def serving_in(releases: str, current: str) -> str:
    """Return the name of the release that serves; blank: none does.

    Ends the script where something else serves: what that needs is nobody's to guess.
    """
    if not os.path.lexists(current):
        return ""
    folder, name = os.path.split(os.path.realpath(current))
    if folder != os.path.realpath(releases):
        sys.exit(f"{current} leads out of {releases}: nothing was removed.")
    return name


def remove_archives(tools: str) -> list[str]:
    """A worker that takes over sends an archive again, though it is unpacked already."""
    failures = []
    for path in glob.glob(os.path.join(glob.escape(tools), "*.tar.gz")):
        try:
            os.unlink(path)
        except OSError as error:
            failures.append(f"{path} could not be removed: {error}.")
    return failures


def remove_wheels(folder: str) -> list[str]:
    """Remove what was sent and has no other name: no environment links to it any more."""
    failures = []
    for path in glob.glob(os.path.join(glob.escape(folder), "*")):
        try:
            if os.lstat(path).st_nlink == 1:
                os.unlink(path)
        except OSError as error:
            failures.append(f"{path} could not be removed: {error}.")
    return failures


def main() -> None:
    facts = json.load(sys.stdin)
    top = facts["deploy_path"]
    current = os.path.join(top, "current")
    releases = os.path.join(top, "releases")
    environments = os.path.join(top, "venvs")
    tools = os.path.join(top, ".deploy")
    serving = serving_in(releases, current)
    failures = remove_releases(releases, max(facts["number"], 1), {*facts["keep"], serving})
    failures += lead_to_newest(releases, environments, serving)
    failures += remove_environments(environments, releases, current)
    failures += remove_variables(os.path.join(tools, "environment"), releases)
    failures += remove_archives(tools)
    failures += remove_wheels(os.path.join(tools, "wheels"))
    if failures:
        sys.exit("\n".join(failures))


main()
