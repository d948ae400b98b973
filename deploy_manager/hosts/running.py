"""Following a command to its end: output, time limit, cancellation."""

import time
from collections.abc import Sequence
from threading import Event
from typing import Protocol

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import Cancelled, CommandTimedOut, ConnectionLost
from deploy_manager.hosts.address import Sink, Stream
from deploy_manager.logs import mask_text
from deploy_manager.recipes.host import Result

KEPT_BYTES = 1024 * 1024
TICK = 0.25
"""Seconds between two checks of the clock and of a cancel."""

LINGER = 1.0
"""Seconds of silence after a command ended before its streams are given up: a daemon it started may
hold them open for ever."""

Piece = tuple[Stream, bytes]


class Running(Protocol):
    """A started command, in a process group of its own."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs. Raises ConnectionLost if it can no longer be known."""

    @property
    def is_drained(self) -> bool:
        """Whether both of its streams have ended."""

    def read(self, seconds: float) -> Sequence[Piece]:
        """Return output, waiting this long for the first byte; feed the command its input."""

    def stop(self) -> bool:
        """End its process group; return whether it was seen to be gone."""

    def close(self) -> None:
        """Close pipes and channels, even if the command still runs."""


class Tail:
    """The last bytes of a stream."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._kept += data
        # Not at each piece: to cut it copies all that stays.
        if len(self._kept) > 2 * KEPT_BYTES:
            del self._kept[:-KEPT_BYTES]

    @property
    def text(self) -> str:
        return self._kept[-KEPT_BYTES:].decode(errors="replace")


class Watch:
    """Follows one running command to its end."""

    def __init__(self, running: Running, sink: Sink, cancelled: Event, timeout: float) -> None:
        self._running = running
        self._sink = sink
        self._cancelled = cancelled
        self._timeout = timeout
        self._started = self._heard = time.monotonic()
        self._tails = {Stream.STDOUT: Tail(), Stream.STDERR: Tail()}

    def see_through(self, name: str) -> Result:
        """Return how the command ended; `name` is its name in messages.

        Raises CommandTimedOut and Cancelled once its process group was seen to be gone, and
        ConnectionLost if that can't be known.
        """
        while (result := self.go_on(name)) is None:
            pass
        return result

    def go_on(self, name: str) -> Result | None:
        """Take what it prints for a moment, or return how it ended. Raises as `see_through`."""
        if (exit_code := self._ended()) is not None:
            return self.so_far(exit_code)
        if self._cancelled.is_set():
            self._stop(name)
            raise Cancelled(
                _("Cancelled: %(name)s was stopped, with its whole process group."), name=name
            )
        if time.monotonic() - self._started > self._timeout:
            self._stop(name)
            raise CommandTimedOut(
                _(
                    "%(name)s did not end within %(timeout)s s and was stopped, with its whole "
                    "process group. If it needs longer, raise the setting STEP_TIMEOUT or its "
                    "own timeout."
                ),
                name=name,
                timeout=f"{self._timeout:g}",
            )
        self._take(TICK)
        return None

    def so_far(self, exit_code: int) -> Result:
        """Return what it has printed."""
        # What is printed there is for people: masked at once, whatever part of it is shown later.
        said = mask_text(self._tails[Stream.STDERR].text)
        return Result(exit_code, self._tails[Stream.STDOUT].text, said)

    def _ended(self) -> int | None:
        """Return the exit code once the command has ended and all of its output was read."""
        exit_code = self._running.exit_code
        if exit_code is None:
            # So that LINGER counts from its end: it may have been silent for minutes before.
            self._heard = time.monotonic()
        elif self._running.is_drained or time.monotonic() - self._heard > LINGER:
            return exit_code
        return None

    def _take(self, seconds: float) -> bool:
        pieces = self._running.read(seconds)
        for stream, data in pieces:
            self._tails[stream].add(data)
            self._give(stream, data)
        if pieces:
            self._heard = time.monotonic()
        return bool(pieces)

    def _give(self, stream: Stream, data: bytes) -> None:
        """Pass output to the sink. If the sink fails, the command is not left running unseen."""
        try:
            self._sink(stream, data)
        except BaseException:
            self._running.stop()
            raise

    def _stop(self, name: str) -> None:
        """Stop the command. Raises ConnectionLost unless it was seen to be gone."""
        gone = self._running.stop()
        # What it says about being stopped belongs in its log.
        until = time.monotonic() + LINGER
        while not self._running.is_drained and time.monotonic() < until:
            if not self._take(TICK):
                break
        if not gone:
            raise ConnectionLost(
                _(
                    "%(name)s was asked to stop, but may still be running: it was not seen to "
                    "end. Check the server."
                ),
                name=name,
            )


def no_sink(stream: Stream, data: bytes) -> None:
    """Takes the output of quiet commands."""
