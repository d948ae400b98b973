"""A running command: its process group, its pipes and its time limit."""

from __future__ import annotations

import os
import time

from . import spool
from .groups import MARK, Group, began_at
from .lean import random_name, signal, suppress
from .starting import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from .journal import Entry

READ_BYTES = 64 * 1024
LINGER = 1.0
"""Seconds of silence after its leader ended before pipes that a daemon holds open are given up."""

GRACE = 2.0
"""Seconds between asking a group to end and killing it, once the limit is over."""

GRACE_AFTER_LIMIT = 5.0
"""Seconds in which the worker ends it first, and says so in its log; the guard ends it else."""


class Command:
    """One command of a step, or one outside the journal."""

    def __init__(self, entry: Entry, request: dict[str, Any]) -> None:
        self.entry = entry
        self.pipes: dict[int, int] = {}
        self._digest = request["digest"]
        self._limit = time.monotonic() + request["limit"] + GRACE_AFTER_LIMIT
        self._heard = self._ended = 0.0
        self._kill_at: float | None = None
        self._problem = ""

    def start(self, script: str, stdin: BinaryIO | None, home: str) -> None:
        """Start it. Raises OSError if the journal can't be written or no process started."""
        try:
            # Recorded before it starts: if the machine fails in between, its end is unknown, but it
            # does not run twice.
            self.entry.begin(self._digest)
            self._spool = spool.Writer(self.entry.folder)
            mark = random_name(8)
            number = None if stdin is None else stdin.fileno()
            self._leader, *self._ends = start(script, number, home, {**os.environ, MARK: mark})
            self._note_group(mark)
        except OSError:
            # Nothing runs: when asked for again, it may begin.
            self.entry.forget()
            raise
        self.pipes = {self._ends[0]: spool.OUT, self._ends[1]: spool.ERR}
        for pipe in self.pipes:
            os.set_blocking(pipe, False)

    @property
    def may_write(self) -> bool:
        """Whether there is room for more output."""
        return not self._spool.is_full

    def make_room(self, read_up_to: int | None) -> bool:
        """Drop the oldest output, unless the client has yet to read it."""
        if read_up_to is not None and self._spool.oldest >= read_up_to:
            return False
        self._spool.drop_oldest()
        return True

    def take(self, pipe: int) -> bool:
        """Keep output of a pipe; False at its end, or if it can't be written to disk."""
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return True
        self._heard = time.monotonic()
        if data and self._keep(self.pipes[pipe], data):
            return True
        del self.pipes[pipe]
        return False

    def terminate(self, grace: float) -> None:
        """Ask its group to end; it is killed when the grace period is over."""
        self._group.signal(signal.SIGTERM)
        self._kill_at = time.monotonic() + grace

    def watch_the_clock(self) -> None:
        """End it when its limit or its grace period is over."""
        now = time.monotonic()
        if self._kill_at is None and now > self._limit:
            self.terminate(GRACE)
        if self._kill_at is not None and now > self._kill_at:
            self._group.kill()

    @property
    def code(self) -> int | None:
        """Its exit code once its leader ended and its pipes are silent; 128 + N for signal N.

        Once it was asked to end, all of its group has to be gone.
        """
        code = self._leader_code()
        if code is None or (self._kill_at is not None and self._group.lives):
            return None
        self._ended = self._ended or time.monotonic()
        if self.pipes and time.monotonic() - max(self._heard, self._ended) < LINGER:
            return None
        return code if code >= 0 else 128 - code

    @property
    def leader_ended(self) -> bool:
        return self._leader_code() is not None

    def finish(self, code: int) -> None:
        """Close its pipes and record its exit code. Raises OSError."""
        os.waitpid(self._leader, 0)
        self._let_go()
        self.entry.finish(code, self._problem)

    def _leader_code(self) -> int | None:
        """Return how its leader ended, -N if by signal N, but leave it as a zombie until `finish`.

        So long its number can't become another group's, which we would then watch and kill.
        """
        ended = os.waitid(os.P_PID, self._leader, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def _keep(self, stream: int, data: bytes) -> bool:
        """Write output to the spool; a command whose output can't be kept is killed."""
        try:
            self._spool.write(stream, data)
        except OSError as error:
            self._problem = f"it was stopped, since its output could not be kept: {error.strerror}"
            self._group.kill()
            return False
        return True

    def _note_group(self, mark: str) -> None:
        """Record its group. A command that no later guard could find is not left running."""
        leader = self._leader
        try:
            self._group = Group(leader, began_at(leader), mark)
            self.entry.note_group(self._digest, self._group)
        except OSError:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, signal.SIGKILL)
            os.waitpid(leader, 0)
            self._let_go()
            raise

    def _let_go(self) -> None:
        self._spool.close()
        for end in self._ends:
            os.close(end)
