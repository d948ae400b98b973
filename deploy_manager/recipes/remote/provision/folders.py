"""The deploy path: made, with its parents, where no other account can replace what is in it."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator

from .accounts import as_account, entry_of
from .changes import Change, Facts, Problem


def look(facts: Facts) -> Iterator[Change]:
    """Yield the folders that are missing or not the account's. Raises Problem."""
    path, account = facts["deploy_path"], facts["account"]
    known = entry_of(account)
    uids = {0} if known is None else {0, known.pw_uid}
    missing = missing_on_the_way(path, account, uids)
    if missing:
        shown = f"{path} (owned by {account}, mode 755)"
        more = f", and {', '.join(missing[:-1])}" if missing[:-1] else ""
        yield Change(f"+ folder {shown}{more}", lambda: make_folders(missing, account))
        return
    there = os.stat(path)
    if known is None or there.st_uid != known.pw_uid:
        yield Change(f"~ owner of {path}: {account}", lambda: give(path, account))
    elif stat.S_IMODE(there.st_mode) & 0o022:
        yield Change(f"~ mode of {path}: 755", lambda: open_to_all(path))


def missing_on_the_way(path: str, account: str, uids: set[int]) -> list[str]:
    """Return the folders to make, the outermost first.

    Raises Problem if one that is there belongs to a third account, or others may write in it: those
    could replace what the account runs.
    """
    here, missing = "", []
    for name in path.strip("/").split("/"):
        here = f"{here}/{name}"
        try:
            facts = step(here, uids)
        except FileNotFoundError:
            missing.append(here)
            continue
        except OSError as error:
            raise Problem(f"{here}: {error.strerror}") from None
        if facts.st_uid not in uids:
            raise Problem(
                f"{here} belongs to the account {name_of(facts.st_uid)}, which could replace what"
                f" {account} runs: choose another deploy path, or change its owner."
            )
        if here != path and facts.st_mode & 0o022 and not is_safe(facts, uids):
            raise Problem(
                f"Others may write in {here}, and so replace what {account} runs:"
                f" run chmod go-w {here}"
            )
    return missing


def step(here: str, uids: set[int]) -> os.stat_result:
    """Return the facts of a folder, or of the one that a link leads to. Raises Problem, OSError."""
    facts = os.lstat(here)
    if stat.S_ISLNK(facts.st_mode):
        if facts.st_uid not in uids:
            raise Problem(f"{here} is a link of {name_of(facts.st_uid)}: remove it.")
        facts = os.stat(here)
    if not stat.S_ISDIR(facts.st_mode):
        raise Problem(f"{here} is not a folder: move it away, or choose another deploy path.")
    return facts


def is_safe(facts: os.stat_result, uids: set[int]) -> bool:
    """Whether nobody else may rename what is in a folder all the same: it is sticky, as /tmp."""
    by_group = facts.st_mode & stat.S_IWGRP and not facts.st_mode & stat.S_IWOTH
    if by_group and facts.st_uid in uids and facts.st_gid in {0, facts.st_uid}:
        return True  # a group of the account alone has the same number
    return bool(facts.st_mode & stat.S_ISVTX)


def name_of(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def make_folders(missing: list[str], account: str) -> None:
    known = pwd.getpwnam(account)
    for path in missing:
        owner = os.stat(os.path.dirname(path)).st_uid
        if owner == known.pw_uid != 0:
            # In a folder of its own the account could put a link where root would follow it.
            as_account(known, lambda path=path: make_folder(path))
        else:
            make_folder(path)
    if os.stat(missing[-1]).st_uid != known.pw_uid:
        give(missing[-1], account)


def make_folder(path: str) -> None:
    os.mkdir(path)
    open_to_all(path)


def give(path: str, account: str) -> None:
    known = pwd.getpwnam(account)
    os.chown(path, known.pw_uid, known.pw_gid)
    open_to_all(path)


def open_to_all(path: str) -> None:
    os.chmod(path, 0o755)  # noqa: S103  web servers serve what is in it
