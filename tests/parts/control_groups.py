"""A control group for each machine: the kernel's own list of what runs in it, whoever started it.

Without one of its own, machines share the group of the tests, and each systemd takes the services
of the others for its own.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def hierarchies() -> list[Path]:
    """Return where the hierarchies are mounted that systemd-nspawn puts processes into.

    That is cgroup2 and, where there is one as well, the older one of systemd: see systemd's
    docs/CGROUP_DELEGATION.md. Empty without cgroup2.
    """
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point, (kind, _source, options) = line.split()[4], line.partition(" - ")[2].split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.setdefault(kind, Path(point))
    return list(found.values()) if "cgroup2" in found else []


def make(name: str) -> list[Path]:
    """Make a machine's group in each hierarchy."""
    groups = [hierarchy / name for hierarchy in hierarchies()]
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def processes(name: str) -> list[int]:
    """Return the ids of all processes of a machine."""
    listed: list[str] = []
    for group in _all(name):
        with suppress(OSError):
            listed += (group / "cgroup.procs").read_text().split()
    return [int(pid) for pid in dict.fromkeys(listed)]


def end(name: str) -> None:
    """Kill all processes of a machine, and remove its groups. Does nothing if there are none."""
    deadline = time.monotonic() + 30
    while pids := processes(name):
        assert time.monotonic() < deadline, f"{pids} of {name} do not end."
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    for group in _all(name):
        group.rmdir()


def _all(name: str) -> Iterator[Path]:
    """Yield a machine's groups, inner ones first. They come and go meanwhile."""
    for hierarchy in hierarchies():
        for folder, _folders, _files in os.walk(hierarchy / name, topdown=False):
            yield Path(folder)
