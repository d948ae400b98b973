"""What a deploy path has from before, made to be as it is made today, whatever the umask was then.

Web servers read what is served, others change nothing, and what is ours is seen by nobody else.
Modes that somebody gave on purpose stay: a folder of another group is read by that group alone, and
what lies in shared/ is the site's own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat

OPEN = ("releases", "venvs", "static", "maintenance")
"""Folders that are ours, with all that is in them."""

OTHERS = stat.S_IWGRP | stat.S_IWOTH
CACHES = ("uv-cache", "virtualenv")


def mend(tools: str) -> None:
    """Mend the modes of a deploy path, by the path of its `.deploy`. What can't be stays."""
    top = os.path.dirname(tools)
    with contextlib.suppress(OSError):
        mend_folder(top)
        mend_folder(os.path.join(top, "shared"))
    for name in OPEN:
        with contextlib.suppress(OSError):
            folder = os.path.join(top, name)
            if mend_folder(folder):
                mend_below(folder)
    with contextlib.suppress(OSError):
        distrust(tools)


def mend_folder(path: str) -> bool:
    """Mend one folder; return whether it was made under another umask."""
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        return False
    mode = stat.S_IMODE(facts.st_mode)
    opened = 0o755 if facts.st_gid == os.getegid() else 0o700
    wanted = (mode | opened) & ~OTHERS
    if wanted != mode:
        os.chmod(path, wanted)
    return wanted != mode


def mend_below(folder: str) -> None:
    for parent, folders, files in os.walk(folder):
        for name in folders:
            with contextlib.suppress(OSError):
                mend_folder(os.path.join(parent, name))
        for name in files:
            with contextlib.suppress(OSError):
                mend_file(os.path.join(parent, name))


def mend_file(path: str) -> None:
    facts = os.lstat(path)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        return
    mode = 0o755 if facts.st_mode & stat.S_IXUSR else 0o644
    os.chmod(path, 0o600 if os.path.basename(path) == ".deploy.env" else mode)


def distrust(tools: str) -> None:
    """Remove what others could have written of our tools; it is sent again when it is needed."""
    for entry in os.scandir(tools):
        facts = entry.stat(follow_symlinks=False)
        if facts.st_uid == os.geteuid() and not facts.st_mode & OTHERS:
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name in CACHES:
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                mend_private(entry.path)
        elif entry.is_file(follow_symlinks=False):
            if entry.name.endswith((".py", ".pyz")) or entry.name.startswith("uv-"):
                os.unlink(entry.path)
            else:
                mend_private(entry.path)


def mend_private(path: str) -> None:
    with contextlib.suppress(OSError):
        os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) & 0o700)
