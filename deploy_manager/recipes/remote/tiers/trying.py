"""Trying files where they belong, before anybody else sees them there: in a mount namespace."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping

from .running import attempt, require

CAN_MOUNT = ("unshare", "--mount", "true")


def judge(
    changes: Mapping[str, bytes | None], test: tuple[str, ...]
) -> subprocess.CompletedProcess[str] | None:
    """Return how the test ended with these files in place; None: this machine can't do that.

    A container may have no right to mount. Without changes the test needs no namespace.
    """
    require(test[0])
    if not changes:
        return attempt(*test)
    if attempt(*CAN_MOUNT).returncode:
        return None
    with tempfile.TemporaryDirectory(dir="/var/lib", prefix="deploy_manager-") as folder:
        lines = []
        # Nothing can be mounted on what is not there; one may be inside another one.
        places = sorted({os.path.dirname(path) for path in changes})
        for place in places:
            os.makedirs(place, exist_ok=True)
        for number, place in enumerate(places):
            copy = os.path.join(folder, str(number))
            _copy_folder(place, copy)
            _change(copy, place, changes)
            lines.append(shlex.join(["mount", "--bind", copy, place]))
        return attempt("unshare", "--mount", "sh", "-ec", "\n".join([*lines, shlex.join(test)]))


def _copy_folder(place: str, copy: str) -> None:
    """Copy a folder, with links as they are, and with owners, which a program may look at."""
    shutil.copytree(place, copy, symlinks=True)
    for name in ("", *os.listdir(place)):
        facts = os.lstat(os.path.join(place, name))
        os.chown(os.path.join(copy, name), facts.st_uid, facts.st_gid, follow_symlinks=False)


def _change(copy: str, place: str, changes: Mapping[str, bytes | None]) -> None:
    for path, content in changes.items():
        if os.path.dirname(path) != place:
            continue
        target = os.path.join(copy, os.path.basename(path))
        if os.path.lexists(target):
            os.unlink(target)
        if content is not None:
            with open(target, "wb") as file:
                file.write(content)
