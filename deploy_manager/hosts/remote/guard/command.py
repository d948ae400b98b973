"""A command while it runs: its process group, its pipes and its time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import IO, Any, BinaryIO

from . import groups, spool
from .journal import Entry

READ_BYTES = 64 * 1024
LINGER = 1.0
"""Seconds of silence after its leader ended before pipes that a daemon holds are given up."""

GRACE_AFTER_LIMIT = 5.0


class Command:
    """One command of a step, or a look around."""

    def __init__(self, entry: Entry, wish: dict[str, Any]) -> None:
        self.entry = entry
        self.name = (wish["step"], wish["index"])
        self.pipes: dict[int, int] = {}
        self._digest = wish["digest"]
        self._limit = time.monotonic() + wish["limit"] + GRACE_AFTER_LIMIT
        self._heard = self._ended = 0.0
        self._kill_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, script: str, stdin: BinaryIO | None, home: str) -> None:
        """Begin it. Raises OSError where the journal can't be written or no process be made."""
        self.entry.begin(self._digest)
        self._spool = spool.Writer(self.entry.folder)
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=home,
            bufsize=0,
            start_new_session=True,
        )
        self._process = process
        self.pipes = {_number(process.stdout): spool.OUT, _number(process.stderr): spool.ERR}
        for pipe in self.pipes:
            os.set_blocking(pipe, False)
        self.entry.note_group(self._digest, process.pid)

    @property
    def group(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def may_write(self) -> bool:
        """Whether there is room for more output."""
        return not self._spool.is_full

    def make_room(self, read_up_to: int | None) -> bool:
        """Drop the oldest output, unless somebody who listens has not read it yet."""
        if read_up_to is not None and self._spool.oldest >= read_up_to:
            return False
        self._spool.drop_oldest()
        return True

    def take(self, pipe: int) -> bool:
        """Keep what a pipe has; False at its end."""
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return True
        self._heard = time.monotonic()
        if data:
            self._spool.write(self.pipes[pipe], data)
            return True
        del self.pipes[pipe]
        return False

    def tell_to_end(self, grace: float) -> None:
        """Ask its group to end, and make it so when the grace is over."""
        groups.tell(self.group, signal.SIGTERM)
        self._kill_at = time.monotonic() + grace

    def watch_the_clock(self) -> None:
        """End it where it overstays its limit, or the grace it was given."""
        now = time.monotonic()
        if self._kill_at is None and now > self._limit:
            self.tell_to_end(2.0)
        if self._kill_at is not None and now > self._kill_at:
            groups.kill(self.group)

    @property
    def code(self) -> int | None:
        """Its exit code once its leader ended and its pipes are silent; 128 + N for signal N."""
        code = self._process.poll() if self._process else None
        if code is None:
            return None
        self._ended = self._ended or time.monotonic()
        if self.pipes and time.monotonic() - max(self._heard, self._ended) < LINGER:
            return None
        return code if code >= 0 else 128 - code

    @property
    def leader_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def finish(self, code: int) -> None:
        """Let go of its pipes, and write down how it ended. Raises OSError."""
        self._spool.close()
        if self._process:
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe:
                    pipe.close()
        self.entry.finish(code)


def _number(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise OSError("a command has no pipe")
    return pipe.fileno()
