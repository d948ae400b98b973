"""The account that deploys: made with a home, let in by a key, lingering if units of it run."""

from __future__ import annotations

import os
import pwd
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from .changes import Change, Facts, Problem, ask, do

BOOTED = "/run/systemd/system"
LINGERING = "/var/lib/systemd/linger"
NO_LOGIN = ("nologin", "false")
LARGEST_FILE = 1024 * 1024
STARTS_WITHIN = 10.0
"""Seconds in which the account's own systemd is up."""


def look(facts: Facts) -> Iterator[Change]:
    """Yield what the account lacks. Raises Problem."""
    name = facts["account"]
    known = entry_of(name)
    if known is None:
        yield Change(
            f"+ account {name} (with a home, the shell bash, and no password)",
            lambda: make_account(name),
        )
    else:
        require_login(known)
    yield from of_the_key(name, facts["key"])
    yield from of_lingering(facts)


def entry_of(name: str) -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(name)
    return None


def make_account(name: str) -> None:
    do("useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", "--", name)


def require_login(known: pwd.struct_passwd) -> None:
    if os.path.basename(known.pw_shell) in NO_LOGIN:
        raise Problem(
            f"The account {known.pw_name} has the shell {known.pw_shell}, so it can't run commands"
            " by SSH: enter another user for this server, or give it a shell."
        )
    if not os.path.isdir(known.pw_dir):
        raise Problem(f"{known.pw_dir}, the home of {known.pw_name}, does not exist: make it.")


# The key


def of_the_key(name: str, key: str) -> Iterator[Change]:
    if not key:
        return
    known = entry_of(name)
    if known is None:
        yield Change(f"+ key of this installation for {name}", lambda: add_key(name, key))
        return
    paths = key_files(known)
    if any(holds(path, key) for path in paths):
        yield from of_modes(known, paths)
        return
    own = [path for path in paths if path.startswith(f"{known.pw_dir}/")]
    if not own:
        raise Problem(
            f"sshd reads the keys of {name} from {', '.join(paths)}, which is not in its home: add"
            f" this line there:\n{key}"
        )
    yield Change(f"+ key of this installation in {own[0]}", lambda: add_key(name, key))
    yield from of_modes(known, paths)


def key_files(known: pwd.struct_passwd) -> list[str]:
    """Return the files from which sshd reads an account's keys, as it says itself."""
    asked = ask("/usr/sbin/sshd", "-T", "-C", f"user={known.pw_name},host=localhost,addr=::1")
    found = re.search(r"^authorizedkeysfile (.+)$", asked.stdout, re.M)
    names = found.group(1).split() if found else [".ssh/authorized_keys"]
    tokens = {"%%": "%", "%h": known.pw_dir, "%u": known.pw_name, "%U": str(known.pw_uid)}
    filled = [re.sub("%[%huU]", lambda sign: tokens[sign.group()], name) for name in names]
    return [os.path.join(known.pw_dir, name) for name in filled]


def holds(path: str, key: str) -> bool:
    """Whether a file of keys has this one, whatever its options and its comment are."""
    blob = key.split()[1]
    lines = (line.split() for line in read(path).splitlines() if not line.startswith("#"))
    return any(blob in words for words in lines)


def read(path: str) -> str:
    """Return a file's text; blank if it is none. A pipe or a device of the account's can't wait."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(number, encoding="utf-8", errors="replace") as file:
        is_file = stat.S_ISREG(os.fstat(number).st_mode)
        return file.read(LARGEST_FILE) if is_file else ""


def of_modes(known: pwd.struct_passwd, paths: list[str]) -> Iterator[Change]:
    """Yield what makes sshd accept the account's files: others must not write there."""
    for path in paths:
        if not path.startswith(f"{known.pw_dir}/"):
            continue
        for here in (os.path.dirname(path), path):
            try:
                facts = os.stat(here)
            except OSError:
                continue
            if facts.st_mode & 0o022 and facts.st_uid == known.pw_uid:
                yield Change(
                    f"~ mode of {here}: others may not write there, or sshd would not read it",
                    lambda here=here: as_account(known, lambda: close_to_others(here)),
                )


def close_to_others(path: str) -> None:
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~0o022)


def add_key(name: str, key: str) -> None:
    known = pwd.getpwnam(name)
    own = [path for path in key_files(known) if path.startswith(f"{known.pw_dir}/")]
    if not own:
        raise Problem(f"sshd reads no keys of {name} from its home: add this line there:\n{key}")
    as_account(known, lambda: append_line(own[0], f"{key} deploy_manager"))


def append_line(path: str, line: str) -> None:
    """Add a line to a file, which is complete or as it was at any time."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    there = read(path)
    text = there + ("\n" if there and not there.endswith("\n") else "") + line + "\n"
    path = os.path.realpath(path)
    with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


def as_account(known: pwd.struct_passwd, work: Callable[[], None]) -> None:
    """Do something as an account: root must not follow the links that it may have made.

    Raises Problem.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.initgroups(known.pw_name, known.pw_gid)
            os.setgid(known.pw_gid)
            os.setuid(known.pw_uid)
            os.umask(0o077)
            work()
            code = 0
        except OSError as error:
            os.write(writer, f"{error.filename}: {error.strerror}".encode(errors="replace"))
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as said:
        why = said.read()
    if os.waitpid(child, 0)[1]:
        raise Problem(f"As {known.pw_name}: {why or 'it was ended'}")


# Lingering


def of_lingering(facts: Facts) -> Iterator[Change]:
    name = facts["account"]
    if not facts["linger"]:
        return
    if not os.path.isdir(BOOTED):
        if facts["supervisor"] == "systemd-user":
            raise Problem(
                "systemd does not run here: choose the own starter as the environment's supervisor."
            )
        return
    if not os.path.exists(os.path.join(LINGERING, name)):
        line = f"~ lingering of {name}: its units run without a login, and after a reboot"
        yield Change(line, lambda: linger(name))


def linger(name: str) -> None:
    do("loginctl", "enable-linger", name)
    private = f"/run/user/{pwd.getpwnam(name).pw_uid}/systemd/private"
    until = time.monotonic() + STARTS_WITHIN
    while not os.path.exists(private) and time.monotonic() < until:
        time.sleep(0.1)
