"""Look whether this server is fit for a site. Runs on the server, Python 3.8 or later.

Reads JSON: deploy_path, bind (blank: nothing listens), free_bytes, time (the worker's clock, in
seconds), clock_seconds (how much clocks may differ). Prints a line for each finding; what is amiss
is told on stderr too, and ends the script by 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable

OLDEST_PYTHON = (3, 11)
INODES = 20000


class Amiss(Exception):
    """Something to mend, in words that say how."""


def python(facts: dict) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise Amiss(f"Python is {version}: 3.11 or later is needed. Name another in “Python”.")
    return f"Python {version}"


def disk(facts: dict) -> str:
    path = existing(facts["deploy_path"])
    free = shutil.disk_usage(path).free
    if free < facts["free_bytes"]:
        raise Amiss(f"{free >> 20} MiB are free in {path}: {facts['free_bytes'] >> 20} are needed.")
    inodes = os.statvfs(path)
    if inodes.f_files and inodes.f_favail < INODES:
        raise Amiss(f"{inodes.f_favail} more files fit in {path}: {INODES} are needed.")
    return f"{free >> 20} MiB free in {path}"


def permissions(facts: dict) -> str:
    path = facts["deploy_path"]
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path) as folder:
            link = os.path.join(folder, "link")
            os.symlink("somewhere", link + ".new")
            os.replace(link + ".new", link)
    except OSError as error:
        raise Amiss(
            f"{path} can't be written: {error.strerror}. Let it belong to this account."
        ) from None
    return f"{path} can be written, with links"


def home(facts: dict) -> str:
    path = os.path.expanduser("~")
    if not os.access(path, os.W_OK):
        raise Amiss(f"The account's home {path} can't be written.")
    return f"home {path} can be written"


def clock(facts: dict) -> str:
    off = time.time() - facts["time"]
    if abs(off) > facts["clock_seconds"]:
        raise Amiss(f"The clock is {off:+.0f} s off the worker's: let a time service set it.")
    return f"clock within {facts['clock_seconds']} s of the worker's"


def port(facts: dict) -> str:
    bind = facts["bind"]
    if not bind:
        return "no port is needed"
    if not answers(bind):
        return f"{bind} is free"
    if is_ours(facts["deploy_path"]):
        return f"{bind} is served by this site's gunicorn"
    raise Amiss(f"Something else listens on {bind}: end it, or let this site have another address.")


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


def is_ours(deploy_path: str) -> bool:
    try:
        with open(os.path.join(deploy_path, ".deploy", "gunicorn.pid")) as file:
            os.kill(int(file.read()), 0)
    except (OSError, ValueError):
        return False
    return True


def existing(path: str) -> str:
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


LOOKS: list[Callable[[dict], str]] = [python, disk, permissions, home, clock, port]


def main() -> int:
    facts = json.load(sys.stdin)
    amiss = []
    for look in LOOKS:
        try:
            print("✓", look(facts))
        except Amiss as found:
            amiss.append(str(found))
        except OSError as error:
            amiss.append(f"{look.__name__}: {error}")
    for line in amiss:
        print("✗", line)
    print("\n".join(f"✗ {line}" for line in amiss), end="", file=sys.stderr)
    return 1 if amiss else 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8", errors="replace")
    sys.exit(main())
