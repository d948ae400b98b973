"""Check whether this server is ready for a site. Runs on the server, Python 3.8 or later.

Reads JSON: deploy_path, bind (blank: nothing listens), free_bytes, time (the worker's clock, in
seconds), clock_seconds (the allowed difference). Prints a line for each check that passes; problems
go to stderr, and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

OLDEST_PYTHON = (3, 11)
INODES = 20000
SWITCH = 'ln -sfn -- somewhere "$1.new" && mv -fT -- "$1.new" "$1"'
"""As recipes/links.py switches a link: not every mv has -T, which POSIX does not know."""


class Problem(Exception):
    """A failed check, with what to do about it."""


def python(facts: dict) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise Problem(f"Python is {version}: 3.11 or later is needed. Enter another in “Python”.")
    return f"Python {version}"


def disk(facts: dict) -> str:
    path = existing(facts["deploy_path"])
    free = shutil.disk_usage(path).free
    if free < facts["free_bytes"]:
        raise Problem(
            f"{free >> 20} MiB are free in {path}: {facts['free_bytes'] >> 20} are needed."
        )
    inodes = os.statvfs(path)
    # f_files is 0 where a file system has no fixed number of them, such as btrfs.
    if inodes.f_files and inodes.f_favail < INODES:
        raise Problem(f"{inodes.f_favail} more files fit in {path}: {INODES} are needed.")
    return f"{free >> 20} MiB free in {path}"


def permissions(facts: dict) -> str:
    path = facts["deploy_path"]
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path) as folder:
            run(["sh", "-c", SWITCH, "sh", os.path.join(folder, "link")], "links can't be switched")
    except OSError as error:
        raise Problem(
            f"{path} can't be written: {error.strerror}. Change its owner to this account."
        ) from None
    return f"{path} can be written, and links in it switched"


def environment(facts: dict) -> str:
    path = existing(facts["deploy_path"])
    if not os.access(path, os.W_OK):
        raise Problem(f"No virtual environment can be made in {path}: it can't be written.")
    with tempfile.TemporaryDirectory(dir=path) as folder:
        make = [sys.executable, "-I", "-m", "venv", "--without-pip", folder]
        run(make, "no virtual environment can be made")
        python = os.path.join(folder, "bin", "python")
        run(
            [python, "-c", "import ssl, zlib"],
            f"programs in {path} can't run, or Python lacks parts",
        )
    return f"virtual environments run in {path}"


def run(command: list[str], otherwise: str) -> None:
    done = subprocess.run(command, capture_output=True, timeout=60)
    if done.returncode:
        # Not strictly: a program may write in another encoding than the account's.
        said = (done.stderr or done.stdout).decode("utf-8", "replace")
        last_line = said.strip().rpartition("\n")[2]
        raise Problem(f"{otherwise[:1].upper()}{otherwise[1:]}: {last_line}")


def clock(facts: dict) -> str:
    off = time.time() - facts["time"]
    if abs(off) > facts["clock_seconds"]:
        raise Problem(f"The clock is {off:+.0f} s off the worker's: set up a time service (NTP).")
    return f"clock within {facts['clock_seconds']} s of the worker's"


def port(facts: dict) -> str:
    bind = facts["bind"]
    if not bind:
        return "no port is needed"
    if not answers(bind):
        return f"{bind} is free"
    if is_ours(facts["deploy_path"], bind):
        return f"{bind} is served by this site"
    raise Problem(f"Something else listens on {bind}: stop it, or give this site another address.")


def answers(bind: str) -> bool:
    if bind.startswith("unix:"):
        sock, address = socket.socket(socket.AF_UNIX), bind[5:]
    else:
        host, _, number = bind.rpartition(":")
        host = host.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock, address = socket.socket(family), (host, int(number))
    with contextlib.closing(sock):
        sock.settimeout(3)
        return sock.connect_ex(address) == 0


def is_ours(deploy_path: str, bind: str) -> bool:
    """Whether the site's own processes were last started to listen there."""
    try:
        with open(os.path.join(deploy_path, ".deploy", "processes.json")) as file:
            facts = json.load(file)
    except (OSError, ValueError):
        return False
    named = [facts.get("bind"), *(each.get("bind") for each in facts.get("processes", []))]
    return bool(facts.get("serves")) and bind in named


def existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


CHECKS: list[Callable[[dict], str]] = [python, disk, permissions, environment, clock, port]


def main() -> int:
    facts = json.load(sys.stdin)
    problems = []
    for check in CHECKS:
        try:
            print("✓", check(facts))
        except Problem as found:
            problems.append(str(found))
        except (OSError, subprocess.TimeoutExpired) as error:
            problems.append(f"{check.__name__}: {error}")
    print("\n".join(f"✗ {line}" for line in problems), end="", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    # The account's locale may have no ✓.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8", errors="replace")
    sys.exit(main())
