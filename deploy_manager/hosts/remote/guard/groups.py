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
    facts = _stat_of(pid)
    return bool(facts) and int(facts[2]) == group and facts[0] != b"Z"


def _stat_of(pid: str) -> list[bytes]:
    """Return the fields of /proc/<pid>/stat from its state on; none if the process is gone."""
    try:
        # As bytes: a program may give itself any name, also one that is not text.
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name is in brackets, and may have brackets and blanks itself: proc(5).
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []
