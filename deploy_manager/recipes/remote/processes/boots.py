"""Which boot of the machine this is, and when that was."""

from __future__ import annotations

import os
import re

from . import seen
from .place import read


def boot_id() -> str:
    """Return what is another one after each boot; blank if that can't be read."""
    return read("/proc/sys/kernel/random/boot_id").decode().strip()


def booted_at() -> int:
    """Return when this machine was started, in seconds since 1970; 0 if that can't be read."""
    found = re.search(rb"^btime (\d+)", read("/proc/stat"), re.M)
    # Not the kernel's time alone: a container starts after it, with its own process 1.
    later = seen.started_at(1) / os.sysconf("SC_CLK_TCK")
    return int(int(found.group(1)) + later) if found else 0
