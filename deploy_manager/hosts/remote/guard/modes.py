"""Repairing file modes in a deploy path that was created under another umask.

Web servers may read what is served, others may change nothing, and our own files are private.
Modes that were set on purpose stay: a folder of another group is readable by that group alone, and
what is in shared/ belongs to the site.
"""

from __future__ import annotations

import os
import stat

from .lean import remove_tree, suppress

OPEN = ("releases", "venvs", "static", "maintenance")
"""Folders that belong to us, with everything in them."""

OTHERS = stat.S_IWGRP | stat.S_IWOTH
CACHES = ("uv-cache", "virtualenv")


def repair(tools: str) -> None:
    """Repair the modes of a deploy path, given its `.deploy`. What can't be repaired stays."""
    top = os.path.dirname(tools)
    with suppress(OSError):
        repair_folder(top)
        repair_folder(os.path.join(top, "shared"))
    for name in OPEN:
        with suppress(OSError):
            folder = os.path.join(top, name)
            if repair_folder(folder):
                repair_below(folder)
    with suppress(OSError):
        distrust(tools)


def repair_folder(path: str) -> bool:
    """Repair one folder; return whether it was created under another umask."""
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        return False
    mode = stat.S_IMODE(facts.st_mode)
    opened = 0o755 if facts.st_gid == os.getegid() else 0o700
    wanted = (mode | opened) & ~OTHERS
    if wanted != mode:
        os.chmod(path, wanted)
    return wanted != mode


def repair_below(folder: str) -> None:
    for parent, folders, files in os.walk(folder):
        for name in folders:
            with suppress(OSError):
                repair_folder(os.path.join(parent, name))
        for name in files:
            with suppress(OSError):
                repair_file(os.path.join(parent, name))


def repair_file(path: str) -> None:
    facts = os.lstat(path)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        return
    mode = 0o755 if facts.st_mode & stat.S_IXUSR else 0o644
    # Releases of early versions have their variables in the code.
    os.chmod(path, 0o600 if os.path.basename(path) == ".deploy.env" else mode)


def distrust(tools: str) -> None:
    """Remove tools that others could have written to; they are sent again when needed."""
    for entry in os.scandir(tools):
        facts = entry.stat(follow_symlinks=False)
        if facts.st_uid == os.geteuid() and not facts.st_mode & OTHERS:
            continue
        if entry.is_dir(follow_symlinks=False):
            # What others may have put into a cache would be installed: no hash of ours covers it.
            if entry.name in CACHES:
                remove_tree(entry.path)
            else:
                repair_private(entry.path)
        elif entry.is_file(follow_symlinks=False):
            if entry.name.endswith((".py", ".pyz", ".code")) or entry.name.startswith("uv-"):
                os.unlink(entry.path)
            else:
                repair_private(entry.path)


def repair_private(path: str) -> None:
    with suppress(OSError):
        os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) & 0o700)
