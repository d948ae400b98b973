"""Start the guard of a deploy path, if the file there is the guard that the worker expects.

Run as `python -c <this text> <guard> <sha256> <folder>`, before anything of ours runs on a server.
If the guard has to be sent, it ends with the Python's version and MISSING on stderr; if others
could write what this account runs, with the reason. Only the standard library of Python 3.8 is
used.
"""

import grp
import hashlib
import os
import pwd
import stat
import sys

MISSING = "no-guard-of-ours"
OTHERS = stat.S_IWGRP | stat.S_IWOTH


def main(guard: str, sha256: str, folder: str) -> None:
    os.umask(0o077)
    folder = os.path.realpath(folder)
    if not os.path.isdir(folder):
        missing()
    keep_to_ourselves(folder)
    check_above(os.path.dirname(folder))
    if not is_ours(guard, sha256):
        missing()
    sys.argv[:] = [guard, "attach", folder]
    sys.path.insert(0, guard)


def missing() -> None:
    """End with the Python's version and MISSING: the worker sends nothing to one too old."""
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"{version}\n{MISSING}")


def keep_to_ourselves(folder: str) -> None:
    """Make the folder accessible to this account only."""
    facts = os.stat(folder)
    if facts.st_uid != os.geteuid():
        sys.exit(f"{folder} belongs to another account: change its owner to this account.")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        os.chmod(folder, 0o700)


def check_above(folder: str) -> None:
    """Remove others' permission to replace our folder; end if this account may not do so."""
    facts = os.stat(folder)
    if facts.st_uid == os.geteuid() and facts.st_mode & OTHERS:
        os.chmod(folder, stat.S_IMODE(facts.st_mode) & ~OTHERS)
    while True:
        if may_be_replaced(os.stat(folder)):
            sys.exit(
                f"Others may write in {folder}, and so replace what this account runs:"
                f" run chmod go-w {folder}"
            )
        if folder == os.path.dirname(folder):
            return
        folder = os.path.dirname(folder)


def may_be_replaced(facts: os.stat_result) -> bool:
    """Whether others may rename entries of a folder; with the sticky bit (/tmp) they may not."""
    if facts.st_mode & stat.S_ISVTX:
        return False
    by_group = facts.st_mode & stat.S_IWGRP and not is_own_group(facts.st_gid)
    return bool(by_group or facts.st_mode & stat.S_IWOTH)


def is_own_group(number: int) -> bool:
    """Whether a group contains only this account: many systems create one per account."""
    if number == 0:
        return True
    try:
        account, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    alone = set(group.gr_mem) <= {account.pw_name}
    return number == account.pw_gid and group.gr_name == account.pw_name and alone


def is_ours(path: str, sha256: str) -> bool:
    try:
        facts = os.lstat(path)
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return False
    is_own = facts.st_uid == os.geteuid() and stat.S_ISREG(facts.st_mode)
    return is_own and not facts.st_mode & OTHERS and hashlib.sha256(content).hexdigest() == sha256


if __name__ == "__main__":
    main(*sys.argv[1:])
    from guard.relay import main as attach  # type: ignore[import-not-found]

    sys.exit(attach())
