"""Unpack a release beside its place, then rename it there. Runs on the server, Python 3.8 or later.

Reads JSON: archive, release (path), current (path), shared (path), folders, variables (quoted lines
for sh), variables_path (the file for them), max_bytes (of all files together). No member of an
archive may leave the release: one that would ends the script with 1 and the reason on stderr, and
nothing is left behind. Members under our own names are left out.
"""

from __future__ import annotations

import filecmp
import json
import os
import shlex
import shutil
import sys
import tarfile
import zlib
from contextlib import suppress
from typing import Any

HEADER_BYTES = 512
OUR_NAMES = ("venv", "venv.new", ".complete")
FILES = (".py", ".ini", ".cfg", ".conf", ".toml", ".json", ".yaml", ".yml", ".txt", ".db")
FILES += (".pem", ".key", ".crt", ".sqlite", ".sqlite3")
"""Ends of names that are those of files: an empty folder would be of no use under them."""
DATABASES = (".sqlite", ".sqlite3")
BESIDE_DATABASES = ("-wal", "-shm", "-journal")


def unpack(archive: str, target: str, max_bytes: int) -> None:
    with tarfile.open(archive) as tar:
        members = listed(tar, max_bytes)
        links = {"/".join(parts_of(member)) for member in members if member.issym()}
        for member in members:
            check(member, links)
        # Links come last: no file is written through one.
        for member in sorted(members, key=tarfile.TarInfo.issym):
            extract(tar, member, target)
    for name in links:
        if not is_inside(os.path.join(target, name), target):
            sys.exit(f"The link {name} leads out of the code.")


def listed(tar: tarfile.TarFile, max_bytes: int) -> list[tarfile.TarInfo]:
    """Read the members, up to the first that exceeds the limit."""
    members = []
    left = max_bytes
    for member in tar:
        # With headers: an archive of many empty files fills a disk as well.
        left -= HEADER_BYTES + member.size
        if left < 0:
            sys.exit(
                f"The code has more than {max_bytes:,} bytes: raise the setting MAX_ARCHIVE_BYTES."
            )
        members.append(member)
    return members


def check(member: tarfile.TarInfo, links: set[str]) -> None:
    parts = parts_of(member)
    # What lies below a link would be written through it, wherever it leads.
    parents = ("/".join(parts[:end]) for end in range(1, len(parts)))
    if member.name.startswith("/") or ".." in parts or any(parent in links for parent in parents):
        sys.exit(f"{member.name} lies outside of the code.")
    if not (member.isreg() or member.isdir() or member.issym()):
        sys.exit(f"{member.name} is not a file, folder or link.")


def parts_of(member: tarfile.TarInfo) -> list[str]:
    return [part for part in member.name.split("/") if part not in ("", ".")]


def extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    # In Python 3.12 and security releases of older ones (PEP 706); `check` is strict without it.
    if hasattr(tarfile, "data_filter"):
        tar.extract(member, target, set_attrs=not member.issym(), filter="data")
    else:
        tar.extract(member, target)


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is inside a folder after following all links."""
    folder = os.path.realpath(folder)
    return os.path.commonpath([os.path.realpath(path), folder]) == folder


def link_shared(release: str, shared: str, folder: str) -> None:
    """Link a shared folder or file, which is filled from the code the first time and then kept."""
    parts = folder.split("/")
    if {"", ".", ".."}.intersection(parts) or parts[0] in OUR_NAMES:
        sys.exit(f"{folder!r} is not a folder of the code that can be shared.")
    there, here = os.path.join(shared, folder), os.path.join(release, folder)
    if not is_inside(os.path.dirname(here), release):
        sys.exit(f"The shared folder {folder} lies behind a link that leads out of the code.")
    if not os.path.exists(there):
        fill(there, here)
    if os.path.isdir(here) and not os.path.islink(here):
        shutil.rmtree(here)
    elif os.path.lexists(here):
        os.unlink(here)
    os.makedirs(os.path.dirname(here), exist_ok=True)
    os.symlink(there, here)


def fill(shared: str, first: str) -> None:
    """Create a shared folder or file with all of its first content, or not at all."""
    os.makedirs(os.path.dirname(shared), exist_ok=True)
    beside = shared + "~"  # a name that no shared folder has
    with suppress(NotADirectoryError, FileNotFoundError):
        shutil.rmtree(beside)
    if os.path.isdir(first):
        shutil.copytree(first, beside, symlinks=True)
    elif os.path.isfile(first):
        # Private at once: what is shared and not in the repository is often a secret.
        private = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(private, "wb") as file, open(first, "rb") as content:
            shutil.copyfileobj(content, file)
    elif shared.endswith(DATABASES):
        # To SQLite an empty file is a new database.
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    elif os.path.basename(shared).startswith(".env") or shared.endswith(FILES):
        sys.exit(f"There is no {shared}, nor such a file in the code: put it there first.")
    else:
        os.mkdir(beside)
    os.rename(beside, shared)


def refuse_what_stays_behind(facts: dict[str, Any], beside: str) -> None:
    """Exit if the release that serves has files that are to be shared from now on, but are not yet.

    They are what the site wrote. A copy would miss what it still writes until the switch, so that
    only a person can move them.
    """
    serving = os.path.realpath(facts["current"])
    lines = []
    is_database = False
    for folder in facts["folders"]:
        kept, theirs = os.path.join(facts["shared"], folder), os.path.join(serving, folder)
        is_own = os.path.exists(theirs) and not is_linked(theirs)
        if not is_own or os.path.lexists(kept) or lies_in_another(folder, facts["folders"]):
            continue
        if has_all(os.path.join(beside, folder), theirs):
            continue
        lines.append(f"  {moving(theirs, kept)}")
        is_database = is_database or theirs.endswith((*DATABASES, ".db"))
    if lines:
        first = "put up the maintenance page, stop what else writes there, and " * is_database
        sys.exit(
            "The release that serves has files that are to be shared from now on. A copy would miss"
            f" what the site still writes: {first}move them with\n"
            + "\n".join(lines)
            + "\nThe release that serves uses them there, too. Then deploy again."
        )


def is_linked(path: str) -> bool:
    return os.path.realpath(path) != os.path.abspath(path)


def has_all(new: str, old: str) -> bool:
    """Whether a file or folder of the new code has all that is in the old one."""
    if os.path.isfile(old):
        return os.path.isfile(new) and filecmp.cmp(old, new, shallow=False)
    return all(
        has_all(os.path.join(new, os.path.relpath(folder, old), name), os.path.join(folder, name))
        for folder, _folders, names in os.walk(old)
        for name in names
    )


def moving(old: str, new: str) -> str:
    """Return the command that moves a file or folder, and leaves a link in its place."""
    moved = [old, *(old + end for end in BESIDE_DATABASES if os.path.exists(old + end))]
    folder = os.path.dirname(new)
    return " && ".join(
        shlex.join(words)
        for words in (
            ["mkdir", "-p", "--", folder],
            ["mv", "--", *moved, folder + os.sep],
            ["ln", "-s", "--", new, old],
        )
    )


def lies_in_another(folder: str, folders: list[str]) -> bool:
    return any(folder.startswith(f"{other}/") for other in folders)


def leave_out_ours(release: str) -> None:
    """Remove the code's files under our own names, so that we never write through its links."""
    for name in OUR_NAMES:
        path = os.path.join(release, name)
        if not os.path.lexists(path):
            continue
        print(f"{name} of the code is left out: deploy_manager uses this name.")
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def write_private(path: str, text: str) -> None:
    """Write a private file atomically."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    # Variables may have bytes that are not UTF-8, kept as surrogates: see PEP 383.
    content = text.encode("utf-8", "surrogateescape")
    with open(os.open(beside, flags, 0o600), "wb") as file:
        file.write(content)
    os.replace(beside, path)


def make_release(facts: dict[str, Any], beside: str) -> None:
    remove(beside)
    os.makedirs(beside)
    unpack(facts["archive"], beside, facts["max_bytes"])
    leave_out_ours(beside)
    refuse_what_stays_behind(facts, beside)
    folders = facts["folders"]
    for folder in folders:
        # A folder inside another shared one is shared with it: a link would point to itself.
        if not lies_in_another(folder, folders):
            link_shared(beside, facts["shared"], folder)
    # Also those inside another one, which have no link of their own.
    for folder in folders:
        if not os.path.exists(os.path.join(facts["shared"], folder)):
            fill(os.path.join(facts["shared"], folder), "")
    # Before the release appears: what finds it complete needs its variables.
    write_private(facts["variables_path"], facts["variables"])
    open(os.path.join(beside, ".complete"), "w").close()
    # Half removed by clean_up, which takes the mark away first: a rename needs the place.
    if not os.path.exists(os.path.join(facts["release"], ".complete")):
        remove(facts["release"])
    os.rename(beside, facts["release"])


def remove(folder: str) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def main() -> None:
    facts = json.load(sys.stdin)
    beside = facts["release"] + ".part"
    try:
        make_release(facts, beside)
    except (OSError, EOFError, zlib.error, tarfile.TarError, UnicodeError) as error:
        sys.exit(f"The code could not be unpacked: {error}.")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.unlink(facts["archive"])


main()
