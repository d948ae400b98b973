"""Unpack a release beside its place, then rename it there. Runs on the server, Python 3.8 or later.

Reads JSON: archive, release (path), shared (path), folders, variables (text of .deploy.env).
Nothing of an archive gets outside of the release: other members end the script.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile


def unpack(archive: str, target: str) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        links = {member.name for member in members if member.issym()}
        for member in members:
            check(member, links)
        for member in members:
            if not member.issym():
                extract(tar, member, target)
        # Links come last: no file is written through one.
        for member in members:
            if member.issym():
                extract(tar, member, target)
    for name in links:
        if not is_inside(os.path.realpath(os.path.join(target, name)), target):
            sys.exit(f"The link {name} leads out of the code.")


def check(member: tarfile.TarInfo, links: set[str]) -> None:
    parts = member.name.split("/")
    parents = ("/".join(parts[:end]) for end in range(1, len(parts)))
    if member.name.startswith("/") or ".." in parts or any(parent in links for parent in parents):
        sys.exit(f"{member.name} lies outside of the code.")
    if not (member.isreg() or member.isdir() or member.issym()):
        sys.exit(f"{member.name} is no file, folder or link.")


def extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    if hasattr(tarfile, "data_filter"):
        tar.extract(member, target, set_attrs=not member.issym(), filter="data")
    else:
        tar.extract(member, target)


def is_inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, os.path.realpath(folder)]) == os.path.realpath(folder)


def link_shared(release: str, shared: str, folder: str) -> None:
    """What the code has in a shared folder is its first content; afterwards the folder stays."""
    there, here = os.path.join(shared, folder), os.path.join(release, folder)
    if not os.path.exists(there):
        os.makedirs(os.path.dirname(there), exist_ok=True)
        if os.path.isdir(here):
            shutil.copytree(here, there, symlinks=True)
        else:
            os.makedirs(there)
    if os.path.isdir(here) and not os.path.islink(here):
        shutil.rmtree(here)
    elif os.path.lexists(here):
        os.unlink(here)
    os.makedirs(os.path.dirname(here), exist_ok=True)
    os.symlink(there, here)


def write_private(path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def main() -> None:
    facts = json.load(sys.stdin)
    release, beside = facts["release"], facts["release"] + ".part"
    shutil.rmtree(beside, ignore_errors=True)
    os.makedirs(beside)
    unpack(facts["archive"], beside)
    for folder in facts["folders"]:
        link_shared(beside, facts["shared"], folder)
    write_private(os.path.join(beside, ".deploy.env"), facts["variables"])
    open(os.path.join(beside, ".complete"), "w").close()
    os.rename(beside, release)
    os.unlink(facts["archive"])


main()
