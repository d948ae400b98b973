"""What /proc says of processes: who started them, which release they run, where they listen."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from .place import socket_file

LISTENS = "0A"
"""The state TCP_LISTEN, as /proc/net/tcp has it: proc(5), include/net/tcp_states.h."""

KERNEL_THREAD = 0x00200000
"""A flag of a process without a program: PF_KTHREAD, include/linux/sched.h."""

EXECUTED_WITHIN = 20
"""Looks, a millisecond apart, until what a process executes is there to be read."""

CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
"""Where systemd's own hierarchy is: version 2, version 1, both (systemd.io/CGROUP_DELEGATION)."""


def read(pid: int | str, name: str) -> bytes:
    """Return a file of /proc; empty if the process is gone or belongs to another account."""
    with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()
    return b""


def all_processes() -> Iterator[int]:
    return map(int, filter(str.isdigit, os.listdir("/proc")))


def stat_of(pid: int) -> list[bytes]:
    """Return what follows the program's name in its stat: state, parent, …; empty if it is gone."""
    # The name is in brackets, and may have brackets and blanks itself: proc(5).
    return read(pid, "stat").rpartition(b")")[2].split()


def as_executed(pid: int, name: str) -> bytes:
    """Return *cmdline* or *environ* of a process, also while it executes another program.

    For that moment both read empty: the kernel lays them out only once the old ones are gone.
    """
    for _ in range(EXECUTED_WITHIN):
        if text := read(pid, name):
            return text
        if not _may_be_executing(pid, name):
            break
        time.sleep(0.001)
    return read(pid, name)  # it may have become readable since


def _may_be_executing(pid: int, name: str) -> bool:
    fields = stat_of(pid)
    if len(fields) < 7 or fields[0] == b"Z" or int(fields[6]) & KERNEL_THREAD:
        return False
    # Of another account it reads empty however long one looks, and a server has hundreds of them.
    # One that has words had no variables when it was started.
    return os.access(f"/proc/{pid}/{name}", os.R_OK) and not read(pid, "cmdline")


def parent_of(pid: int) -> int:
    fields = stat_of(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def session_of(pid: int) -> int:
    fields = stat_of(pid)
    return int(fields[3]) if len(fields) > 3 else 0


def started_at(pid: int) -> int:
    """Return when a process began, in ticks since the boot: with its number, what names it."""
    fields = stat_of(pid)
    # A zombie has ended; only its parent has not asked yet.
    return int(fields[19]) if len(fields) > 19 and fields[0] != b"Z" else 0


def age_of(pid: int) -> float:
    """Return for how many seconds a process has run; 0 if it is gone."""
    began = started_at(pid)
    with open("/proc/uptime") as file:
        since_boot = float(file.read().split()[0])
    return since_boot - began / os.sysconf("SC_CLK_TCK") if began else 0.0


def with_children(main: int) -> Iterator[int]:
    """Yield a process and all that it started."""
    parents = {pid: parent_of(pid) for pid in all_processes()}
    found = [main] if main in parents else []
    for each in found:
        yield each
        found += [pid for pid, parent in parents.items() if parent == each]


def in_group(group: str) -> Iterator[int]:
    """Yield the processes of a control group and those below: some outlive their master there."""
    if not group.strip("/"):
        return
    for top in CGROUPS:
        for folder, _folders, files in os.walk(top + group):
            if "cgroup.procs" in files:
                with suppress(OSError), open(os.path.join(folder, "cgroup.procs")) as file:
                    yield from map(int, file.read().split())


def release_of(pid: int, releases: str) -> str:
    """Return which release of a site a process runs; blank if that can't be seen, or it is none.

    By its working folder, which stays the one that it was started in when `current` is switched;
    else by the variables that we give to what we start.
    """
    folder = ""
    with suppress(OSError):
        folder = os.readlink(f"/proc/{pid}/cwd")
    inside = re.match(re.escape(releases) + r"/([^/]+)", folder)
    if inside:
        # As the kernel writes it once the folder is gone.
        return inside.group(1).replace(" (deleted)", "")
    path = variable_of(pid, "DEPLOY_PATH")
    # Another site of the account has releases of its own.
    is_here = path and os.path.realpath(os.path.join(path, "releases")) == releases
    return variable_of(pid, "DEPLOY_RELEASE") if is_here else ""


def variable_of(pid: int, name: str) -> str:
    """Return a variable of a process of this account; blank if it has none of this name."""
    found = re.search(rb"(?:\A|\0)" + name.encode() + rb"=([^\0]+)", as_executed(pid, "environ"))
    return os.fsdecode(found.group(1)) if found else ""


def name_of(pid: int) -> str:
    """Return its number and program: its other words may have passwords, and the log is stored."""
    program = os.fsdecode(read(pid, "cmdline").split(b"\0")[0])
    return f"process {pid} ({os.path.basename(program)!r})"


def worker_name(pid: int) -> bytes:
    """Return what a process has in common with the workers that it forked: its words.

    If they have titles, like "gunicorn: master [shop]", how those begin.
    """
    words = read(pid, "cmdline").rstrip(b"\0")
    title, colon, _rest = words.partition(b": ")
    return title if colon and b"\0" not in title else words


def listeners_on(bind: str) -> list[int]:
    """Return the processes of this account that listen at an address: host:port or unix:/path."""
    wanted = {f"socket:[{inode}]" for inode in _inodes_of(bind)}
    return [pid for pid in all_processes() if wanted and _holds(pid, wanted)]


def _holds(pid: int, wanted: set[str]) -> bool:
    with suppress(OSError):
        for each in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(each.path) in wanted:
                    return True
    return False


def _inodes_of(bind: str) -> Iterable[str]:
    if path := socket_file(bind):
        lines = [line.split(None, 7) for line in _lines_of("/proc/net/unix")]
        # Flags __SO_ACCEPTCON: it listens; others are connections that were accepted from it.
        return [f[6] for f in lines if len(f) > 7 and f[7] == path and f[3] == "00010000"]
    port = f"{int(bind.rpartition(':')[2]):04X}"
    found = []
    for name in ("tcp", "tcp6"):
        for line in _lines_of(f"/proc/net/{name}"):
            fields = line.split()
            # Whatever the host: one may listen on all addresses where we ask at one.
            if fields[1].endswith(f":{port}") and fields[3] == LISTENS:
                found.append((fields[1].rpartition(":")[0], fields[9]))
    hosts = _as_the_kernel_writes(bind.rpartition(":")[0])
    return [inode for host, inode in found if not hosts or host in hosts or not host.strip("0")]


def _as_the_kernel_writes(host: str) -> set[str]:
    """Return an IPv4 address as in /proc/net/tcp and, mapped, tcp6; empty for names and others."""
    parts = host.split(".")
    if len(parts) != 4 or not all(part.isdigit() for part in parts) or host == "0.0.0.0":
        return set()
    short = "".join(f"{int(part):02X}" for part in reversed(parts))
    return {short, f"0000000000000000FFFF0000{short}"}


def _lines_of(path: str) -> list[str]:
    with suppress(OSError), open(path, errors="replace") as file:
        return file.read().splitlines()[1:]
    return []
