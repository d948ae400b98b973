"""Process groups: whether one still runs, and sending signals to it."""

from __future__ import annotations

import os

from .lean import signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "DEPLOY_MANAGER_COMMAND"
"""The variable by which processes of a command are known once its leader is gone."""


class Group:
    """The process group of a command.

    Its number is given to another group once it is gone: nothing is believed of a group, and no
    signal sent, without a proof that it is ours.
    """

    def __init__(self, number: int, leader_began: int, mark: str) -> None:
        self.number = number
        # When its leader started, as /proc says: ticks of the clock since boot.
        self.leader_began = leader_began
        # The value of MARK in the environment of its processes.
        self.mark = mark

    @property
    def lives(self) -> bool:
        """Whether any process of it still runs. Zombies do not count: they wait for a parent."""
        # That one may be ours which has changed its user, as sudo does, must not be denied.
        is_ours = self._is_ours(if_unreadable=True)
        return is_ours and any(state != b"Z" for _pid, state in self._members())

    def signal(self, number: int) -> None:
        """Send a signal to it, if it is there and ours."""
        if self._is_ours(if_unreadable=False):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.number, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def _is_ours(self, if_unreadable: bool) -> bool:
        """Whether it is ours; as told, if that is up to a process of another user."""
        if self.number <= 0:
            return False
        with suppress(OSError):
            return began_at(self.number) == self.leader_began
        # Its number is free only once the group is empty, but another group may have come and lost
        # its leader as well since then.
        return any(self._is_marked(pid, if_unreadable) for pid, _state in self._members())

    def _members(self) -> Iterator[tuple[str, bytes]]:
        """Yield the process id and the state of each process in it."""
        with suppress(PermissionError):  # it is there, and has changed its user
            try:
                os.killpg(self.number, 0)
            except ProcessLookupError:
                return
        # kill(2) finds zombies as well: only /proc tells them from what runs.
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it ends meanwhile
                facts = _stat_of(pid)
                if int(facts[2]) == self.number:
                    yield pid, facts[0]

    def _is_marked(self, pid: str, if_unreadable: bool) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return f"{MARK}={self.mark}".encode() in file.read().split(b"\0")
        except PermissionError:
            return if_unreadable
        except OSError:
            return False  # it ends meanwhile


def began_at(pid: int) -> int:
    """Return when a process started, in ticks of the clock since boot. Raises OSError."""
    return int(_stat_of(str(pid))[19])


def _stat_of(pid: str) -> list[bytes]:
    """Return the fields of /proc/<pid>/stat from its state on. Raises OSError if it is gone."""
    # As bytes: a program may give itself any name, also one that is not text.
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name is in brackets, and may have brackets and blanks itself: proc(5).
        return file.read().rpartition(b")")[2].split()
