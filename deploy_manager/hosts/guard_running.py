"""A command of a guard while it runs, over lines that may be cut and made again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy_manager.exceptions import ConnectionLost, HandedOver, NeverBegun, RecipeError
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.guard_line import GuardLine
from deploy_manager.hosts.remote.guard.frames import Frame, Kind
from deploy_manager.hosts.running import Piece

if TYPE_CHECKING:
    from deploy_manager.hosts.guarded import GuardedHost

BLOCK_BYTES = 256 * 1024
GRACE = 2.0
"""Seconds between asking a group to end and ending it."""

KILLED_WITHIN = GRACE + 6.0
PUT_WITHIN = 60.0
TICK = 0.25
STREAMS = {Kind.OUT: Stream.STDOUT, Kind.ERR: Stream.STDERR}


@dataclass(frozen=True)
class Wish:
    """A command, named by its step and its place in it."""

    step: int
    index: int
    script: str
    limit: float
    """Seconds after which the guard ends it, with some to spare."""

    is_kept: bool = True
    """Whether it stands in the journal; what does not is run each time it is asked for."""

    is_known_only: bool = False
    """Whether it is answered from the journal or not at all."""

    is_fresh: bool = False
    """Whether it may be run though another command stood in its place before."""


class GuardedRunning:
    """Follows one command."""

    def __init__(self, host: "GuardedHost", wish: Wish, stdin: bytes) -> None:
        self._host = host
        self._wish = wish
        self._stdin = stdin
        self._lines = host.lines()
        self._line: GuardLine | None = None
        self._read = {Kind.OUT: 0, Kind.ERR: 0}
        self.exit_code: int | None = None

    @property
    def is_drained(self) -> bool:
        return self.exit_code is not None

    def read(self, seconds: float) -> Sequence[Piece]:
        """Return what it printed, waiting this long. Raises HandedOver, RecipeError too."""
        if self._host.handed_over.is_set():
            raise HandedOver
        try:
            if self._line is None:
                self._ask(next(self._lines))
            assert self._line is not None  # noqa: S101  it was just asked
            pieces = [self._piece(frame) for frame in self._line.receive(seconds)]
        except ConnectionLost:
            if self._line is None or self._is_unknown:
                raise
            self._line = None
            self._host.drop_line()
            return []
        return [piece for piece in pieces if piece]

    def stop(self) -> bool:
        return self._host.kill()

    def close(self) -> None:
        """The line stays open for the next command."""

    _is_unknown = False

    def _ask(self, line: GuardLine) -> None:
        """Ask for the command, or for the rest of what it prints."""
        self._line = line
        line.send(
            Kind.RUN,
            {
                "step": self._wish.step,
                "index": self._wish.index,
                "script": self._wish.script,
                "limit": self._wish.limit,
                "journal": self._wish.is_kept,
                "fresh": self._wish.is_fresh,
                "known_only": self._wish.is_known_only,
                "out_from": self._read[Kind.OUT],
                "err_from": self._read[Kind.ERR],
            },
        )
        for start in range(0, len(self._stdin), BLOCK_BYTES):
            line.send(Kind.INPUT, self._stdin[start : start + BLOCK_BYTES])
        line.send(Kind.START)

    def _piece(self, frame: Frame) -> Piece | None:
        kind, payload = frame
        if kind in STREAMS:
            self._read[kind] += len(payload)
            return STREAMS[kind], payload
        if kind is Kind.CUT:
            self._host.note(f"[{payload.decode()} bytes of output were not kept]")
        if kind is Kind.EXIT:
            self.exit_code = json.loads(payload)["code"]
        elif kind is Kind.UNKNOWN:
            self._is_unknown = True
            said = json.loads(payload)
            reason = said["reason"]
            if said.get("never"):
                raise NeverBegun(f"A command on {self._host.name} was never begun.")
            raise ConnectionLost(
                f"Whether a command on {self._host.name} ended well is unknown: {reason}."
            )
        elif kind is Kind.FAILED:
            raise RecipeError(f"{self._host.name}: {json.loads(payload)['reason']}.")
        return None


def wait_until_killed(line: GuardLine) -> bool:
    """Have what runs be ended; return whether it was seen to be gone. Raises ConnectionLost."""
    line.send(Kind.KILL, {"grace": GRACE})
    for kind, payload in _frames(line, KILLED_WITHIN):
        if kind is Kind.KILLED:
            return bool(json.loads(payload)["gone"])
    return False


def reply_to_put(line: GuardLine) -> str:
    """Return why a file could not be written; blank: it was. Raises ConnectionLost."""
    for kind, payload in _frames(line, PUT_WITHIN):
        if kind is Kind.PUT_DONE:
            return ""
        if kind is Kind.FAILED:
            return str(json.loads(payload)["reason"])
    raise ConnectionLost("The guard did not say whether a file was written.")


def _frames(line: GuardLine, seconds: float) -> Iterator[Frame]:
    waited = 0.0
    while waited < seconds:
        frames = line.receive(TICK)
        waited += 0 if frames else TICK
        yield from frames
