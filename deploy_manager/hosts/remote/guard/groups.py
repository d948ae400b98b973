"""Process groups: whether one still runs, and sending signals to it."""

from __future__ import annotations

import contextlib
import os
import signal


def lives(group: int) -> bool:
    """Whether any process of a group still runs. Zombies do not count: they wait for a parent."""
    if group <= 0:
        return False
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and has changed its user
    # kill(2) finds zombies as well: only /proc tells them from what runs.
    return any(_is_of(pid, group) for pid in os.listdir("/proc") if pid.isdigit())


def signal_group(group: int, number: int) -> None:
    """Send a signal to a group, if it is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill(group: int) -> None:
    signal_group(group, signal.SIGKILL)


def _is_of(pid: str, group: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            # A program's name is in brackets, and may have brackets and blanks itself: proc(5).
            state, _parent, its_group = file.read().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(its_group) == group and state != "Z"
