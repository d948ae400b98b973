"""A command that a guard runs, followed over lines that may be lost and reopened."""

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import ConnectionLost, HandedOver, NeverBegun, RecipeError
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.guard_line import GuardLine
from deploy_manager.hosts.remote.guard.frames import Frame, Kind
from deploy_manager.hosts.running import Piece

if TYPE_CHECKING:
    from deploy_manager.hosts.guarded import GuardedHost

BLOCK_BYTES = 256 * 1024
GRACE = 2.0
"""Seconds between asking a process group to end and killing it."""

KILLED_WITHIN = GRACE + 6.0
"""Seconds. The guard answers within GRACE and its own GONE_WITHIN; the rest is for the line."""

PUT_WITHIN = 60.0
"""Seconds. The guard answers only when the file is on the disk (fsync), which may be slow."""

TICK = 0.25
LATE_BYTES = 4 * 1024 * 1024
"""Output kept while waiting for another frame: the newest, as a log's end tells the most."""

LAST = (Kind.UNKNOWN, Kind.FAILED)
"""Kinds that end following a command with an error."""

STREAMS = {Kind.OUT: Stream.STDOUT, Kind.ERR: Stream.STDERR}


@dataclass(frozen=True)
class CommandRequest:
    """A command, named by its step and its index in it."""

    step: int
    index: int
    script: str
    limit: float
    """Seconds after which the guard ends it, plus a margin of its own."""

    is_kept: bool = True
    """Whether it is recorded in the journal; otherwise it runs each time it is requested."""

    is_known_only: bool = False
    """Whether it may only be answered from the journal, never run."""

    is_fresh: bool = False
    """Whether it may run even if the journal has another command in its place."""


class GuardedRunning:
    """Follows one command."""

    def __init__(self, host: "GuardedHost", request: CommandRequest, stdin: bytes) -> None:
        self._host = host
        self._request = request
        self._stdin = stdin
        self._lines = host.lines()
        self._line: GuardLine | None = None
        self._is_started = False
        self._read = {Kind.OUT: 0, Kind.ERR: 0}
        self.exit_code: int | None = None

    @property
    def is_drained(self) -> bool:
        return self.exit_code is not None

    def read(self, seconds: float) -> Sequence[Piece]:
        """Return output, waiting this long. Also raises HandedOver, RecipeError."""
        if self._host.handed_over.is_set():
            raise HandedOver
        line = self._line or next(self._lines)
        try:
            if self._line is None:
                self._ask(line)
            frames = line.receive(seconds)
        except ConnectionLost:
            # The command goes on under its guard: the next read asks for the rest on a new line.
            self._line = None
            self._host.drop_line()
            return []
        return list(self._pieces(frames))

    def stop(self) -> bool:
        return self._host.kill()

    def close(self) -> None:
        """The line stays open for the next command."""

    def _ask(self, line: GuardLine) -> None:
        """Request the command, or the rest of its output."""
        self._line, self._is_started = line, False
        line.send(
            Kind.RUN,
            {
                "step": self._request.step,
                "index": self._request.index,
                "script": self._request.script,
                "limit": self._request.limit,
                "journal": self._request.is_kept,
                "fresh": self._request.is_fresh,
                "known_only": self._request.is_known_only,
                "out_from": self._read[Kind.OUT],
                "err_from": self._read[Kind.ERR],
            },
        )
        # All of it each time: the guard drops the input of a client that is gone before it started.
        for start in range(0, len(self._stdin), BLOCK_BYTES):
            line.send(Kind.INPUT, self._stdin[start : start + BLOCK_BYTES])
        line.send(Kind.START)

    def _pieces(self, frames: list[Frame]) -> Iterator[Piece]:
        """Yield output, note other frames. Frames before STARTED belong to an earlier command."""
        for number, (kind, payload) in enumerate(frames, 1):
            if kind == Kind.STARTED:
                self._is_started = True
            elif not self._is_started:
                continue
            elif kind in STREAMS:
                self._read[kind] += len(payload)
                yield STREAMS[kind], payload
            elif self._line is not None and number > 1 and kind in LAST:
                self._line.give_back(frames[number - 1 :])  # the output before it is handled first
                return
            else:
                self._note(kind, payload)

    def _note(self, kind: int, payload: bytes) -> None:
        """Record its exit code, or lost output. Raises ConnectionLost, RecipeError."""
        if kind == Kind.CUT:
            self._host.note(f"[{payload.decode()} bytes of output were not kept]")
        elif kind == Kind.EXIT:
            self.exit_code = json.loads(payload)["code"]
        elif kind == Kind.UNKNOWN:
            answer = json.loads(payload)
            if answer.get("never"):
                raise NeverBegun(
                    _("A command on %(name)s was never started."), name=self._host.name
                )
            raise ConnectionLost(
                _(
                    "Whether a command on %(name)s succeeded is unknown: %(answer)s. Check the "
                    "server."
                ),
                name=self._host.name,
                answer=answer["reason"],
            )
        elif kind == Kind.FAILED:
            raise RecipeError(
                "%(name)s: %(why)s.", name=self._host.name, why=json.loads(payload)["reason"]
            )


class Late:
    """The most recent frames received while waiting for another one."""

    def __init__(self) -> None:
        self.frames: deque[Frame] = deque()
        self._size = 0

    def add(self, frame: Frame) -> None:
        self.frames.append(frame)
        self._size += len(frame[1])
        while self._size > LATE_BYTES:
            self._size -= len(self.frames.popleft()[1])


def wait_until_killed(line: GuardLine) -> bool:
    """Kill the running command; return whether it was seen to be gone. Raises ConnectionLost."""
    line.send(Kind.KILL, {"grace": GRACE})
    late = Late()
    try:
        for kind, payload in _frames(line, KILLED_WITHIN):
            if kind == Kind.KILLED:
                return bool(json.loads(payload)["gone"])
            late.add((kind, payload))
    finally:
        # Output that came meanwhile is for whoever follows the command.
        line.give_back(late.frames)
    return False


def reply_to_put(line: GuardLine) -> str:
    """Return why a file could not be written; blank if it was. Raises ConnectionLost."""
    for kind, payload in _frames(line, PUT_WITHIN):
        if kind == Kind.PUT_DONE:
            return ""
        if kind == Kind.FAILED:
            return str(json.loads(payload)["reason"])
    raise ConnectionLost(_("The guard did not confirm that a file was written."))


def _frames(line: GuardLine, seconds: float) -> Iterator[Frame]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield from line.receive(TICK)
