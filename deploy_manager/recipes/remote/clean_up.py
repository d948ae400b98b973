"""Remove old releases and environments. Runs on the server, Python 3.8 or later.

Reads JSON: deploy_path, number (complete releases to keep), keep (names that stay anyway). One that
lacks its environment, as its installation failed or was cancelled, is not complete.
An environment that was changed by hand has a newer one beside it, with a number after its name:
releases that are not serving are switched to it. Archives that were never unpacked are removed too,
wheels that no environment uses, and variables of releases that are gone. What a process of this
account still runs from stays, and is named. Prints the folders that it removed: real ones directly
in releases/ and venvs/, nothing else. A failure does not stop the rest: it is reported at the end,
with exit code 1.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import sys
from contextlib import suppress


def folders_in(folder: str) -> list[str]:
    """Return the names of real folders: files and links are not releases."""
    if os.path.islink(folder):
        print(folder, "is a link: nothing behind it is removed")
        return []
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def is_complete(path: str) -> bool:
    return not path.endswith(".part") and os.path.exists(os.path.join(path, ".complete"))


def can_serve(release: str) -> bool:
    """Whether a release could be activated: without its environment, it is none to go back to."""
    return is_complete(release) and is_complete(os.path.join(release, "venv"))


def remove(path: str) -> list[str]:
    """Remove a folder, its mark first: half removed, it must not look complete. Return failures."""
    try:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(path, ".complete"))
        shutil.rmtree(path)
    except OSError as error:
        return [f"{path} could not be removed: {error}."]
    print("removed", path)
    return []


def processes_in(folder: str) -> dict[str, str]:
    """Return a process of this account for each folder in `folder` that one still runs from.

    By its working folder, its program, its words and the libraries that it has loaded: Python opens
    modules only as it imports them, so that it breaks, late, if they are gone. Of others' processes
    only the words could be read, which anybody may choose.
    """
    inside = re.compile(re.escape(os.fsencode(os.path.realpath(folder))) + rb"/([^/\0\n]+)")
    found: dict[str, str] = {}
    here = set(folders_in(folder))
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if not is_own(pid):
            continue
        words = read(pid, "cmdline")
        traces = b"\0".join([link(pid, "cwd"), link(pid, "exe"), words, read(pid, "maps")])
        # Its name alone: words may have passwords, and the log is stored.
        process = f"process {pid} ({os.path.basename(os.fsdecode(words.split(bytes(1))[0]))!r})"
        for name in here.intersection(map(os.fsdecode, inside.findall(traces))):
            found.setdefault(name, process)
    return found


def is_own(pid: str) -> bool:
    with suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    return False


def link(pid: str, name: str) -> bytes:
    with suppress(OSError):
        return os.readlink(os.fsencode(f"/proc/{pid}/{name}"))
    return b""


def read(pid: str, name: str) -> bytes:
    with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()
    return b""


def keep_what_runs(folder: str, keep: set[str]) -> set[str]:
    """Return what has to stay in a folder; says which processes still use what would go."""
    running = processes_in(folder)
    for name, process in sorted(running.items()):
        if name not in keep:
            print(f"{os.path.join(folder, name)} stays for now: {process} still runs from it")
    return keep.union(running)


def remove_releases(folder: str, number: int, keep: set[str]) -> list[str]:
    names = folders_in(folder)
    # Names begin with the time (UTC) at which a release was made: see models/releases.py.
    newest_first = [name for name in reversed(names) if can_serve(os.path.join(folder, name))]
    kept = keep_what_runs(folder, keep.union(newest_first[:number]))
    return [why for name in names if name not in kept for why in remove(os.path.join(folder, name))]


def switch_to_newest(releases: str, environments: str, current: str) -> list[str]:
    """Switch releases to the newest environment of their pins, except the one that serves.

    Return failures.
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
            failures += switch(link, os.path.join(folder, best))
    return failures


def newest_of_each(environments: str) -> dict[str, str]:
    """Return the complete environment with the highest number, by its name without it."""
    found: dict[str, tuple[int, str]] = {}
    for name in folders_in(environments):
        stem, _, number = name.partition(".")
        if is_complete(os.path.join(environments, name)) and (number or "1").isdigit():
            found[stem] = max(found.get(stem, (0, "")), (int(number or 1), name))
    return {stem: name for stem, (_, name) in found.items()}


def switch(link: str, target: str) -> list[str]:
    """Switch a link by one rename; return failures."""
    beside = link + ".new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        os.symlink(target, beside)
        os.replace(beside, link)
    except OSError as error:
        return [f"{link} could not be pointed at {target}: {error}."]
    return []


def remove_environments(folder: str, releases: str, current: str) -> list[str]:
    links = [os.path.join(releases, name, "venv") for name in folders_in(releases)]
    links.append(os.path.join(current, "venv"))
    used = keep_what_runs(folder, {os.path.basename(os.path.realpath(link)) for link in links})
    unused = (name for name in folders_in(folder) if name not in used)
    return [why for name in unused for why in remove(os.path.join(folder, name))]


def remove_variables(folder: str, releases: str) -> list[str]:
    """Remove the variables of releases that are gone."""
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
    """Return the name of the release that serves; blank if none does.

    Ends the script if something else serves: there is no way to know what that needs.
    """
    if not os.path.lexists(current):
        return ""
    folder, name = os.path.split(os.path.realpath(current))
    if folder != os.path.realpath(releases):
        sys.exit(
            f"{current} points outside of {releases}: nothing was removed. Deploy a release first."
        )
    return name


def remove_archives(tools: str) -> list[str]:
    """Remove archives: a worker that took over may have sent one that was already unpacked."""
    failures = []
    for path in glob.glob(os.path.join(glob.escape(tools), "*.tar.gz")):
        try:
            os.unlink(path)
        except OSError as error:
            failures.append(f"{path} could not be removed: {error}.")
    return failures


def remove_wheels(folder: str) -> list[str]:
    """Remove wheels with a single hard link: no environment has them any more."""
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
    # In this order: each step sets free what a later one removes.
    failures = remove_releases(releases, max(facts["number"], 1), {*facts["keep"], serving})
    failures += switch_to_newest(releases, environments, serving)
    failures += remove_environments(environments, releases, current)
    failures += remove_variables(os.path.join(tools, "environment"), releases)
    failures += remove_archives(tools)
    failures += remove_wheels(os.path.join(tools, "wheels"))
    if failures:
        sys.exit("\n".join(failures))


main()
