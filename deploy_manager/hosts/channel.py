"""A command that runs over SSH: reads and feeds its channel without blocking on either side."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event
from typing import Protocol, TypeVar

import paramiko
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import ConnectionLost, NoCommands
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.running import Piece

READ_BYTES = 64 * 1024
FEED_TICK = 0.01
"""Seconds between two checks whether the server takes more input."""

PREAMBLE_BYTES = 64 * 1024
GROUP_TIMEOUT = 2.0
"""Seconds to wait, before stopping a command, for the line that names its process group."""

SHOWN_CHARACTERS = 500

Stopper = Callable[[int], bool]
"""Ends a process group on the server; returns whether it was seen to be gone."""


class Closable(Protocol):
    def close(self) -> object:
        """Release it."""


Open = TypeVar("Open", bound=Closable)


def hang_up(end: Closable) -> None:
    """Close a connection or a channel, even if the other end is gone.

    paramiko sends a message when it closes, and raises if there is nobody left to take it.
    """
    with suppress(EOFError, OSError, paramiko.SSHException):
        end.close()


@contextmanager
def hung_up(end: Open) -> Iterator[Open]:
    """Hang up when the block ends, however it ends."""
    try:
        yield end
    finally:
        hang_up(end)


class Preamble:
    """Removes the line with the process group from the start of a command's output.

    Whatever comes before it was printed by the account's shell profile and is dropped. If the line
    never comes, our command never ran and all output is kept, to be shown.
    """

    def __init__(self, marker: str) -> None:
        self._line = re.compile(rb"%s (\d+)\n" % marker.encode())
        self._held: bytes | None = b""
        self.group: int | None = None
        self.instead: bytes | None = None
        """All output of a command that ended without the line: something else ran instead of it."""

    @property
    def is_waiting(self) -> bool:
        """Whether the line has not come yet."""
        return self._held is not None

    def take(self, data: bytes) -> bytes:
        """Return the part of `data` that is known to be the command's own output."""
        if self._held is None:
            return data
        self._held += data
        if found := self._line.search(self._held):
            self.group = int(found[1])
            return self._release(found.end())
        # Else a server that never sends the line would have its output collected in memory.
        return self._release() if len(self._held) > PREAMBLE_BYTES else b""

    def end(self) -> bytes:
        """Return the output held back for a line that never came."""
        if self._held is None:
            return b""
        self.instead = self._held
        return self._release()

    def _release(self, start: int = 0) -> bytes:
        held, self._held = self._held or b"", None
        return held[start:]


class SshRunning:
    """A command on a channel of its own."""

    def __init__(
        self, channel: paramiko.Channel, marker: str, stdin: bytes, where: str, stopper: Stopper
    ) -> None:
        self._channel = channel
        self._preamble = Preamble(marker)
        self._input: memoryview | None = memoryview(stdin)
        self._where = where
        self._stopper = stopper
        self._early: list[Piece] = []
        self._errors = b""
        self._arrived = Event()
        # paramiko has one buffer a stream and no way to wait for both but a shared event.
        channel.settimeout(0)
        channel.in_buffer.set_event(self._arrived)
        channel.in_stderr_buffer.set_event(self._arrived)

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the command runs.

        Raises NoCommands if something else ran instead and claims to have succeeded, and
        ConnectionLost if the channel ended without an exit code.
        """
        if not self._channel.exit_status_ready():
            return None
        code = self._channel.recv_exit_status()
        if code >= 0:  # paramiko: -1 for a channel that closed without an exit status
            if code == 0 and self.is_drained and self._preamble.instead is not None:
                raise no_commands(self._where, self._preamble.instead + b"\n" + self._errors)
            return code
        # What came before the loss is read first: raising ends the reading.
        if not self.is_drained:
            return None
        raise ConnectionLost(
            _(
                "The connection to %(where)s was lost during a command: whether the command "
                "succeeded is unknown. Check the server."
            ),
            where=self._where,
        )

    @property
    def is_drained(self) -> bool:
        return self._has_ended() and not self._has_something() and not self._early

    def read(self, seconds: float) -> Sequence[Piece]:
        if self._early:
            pieces, self._early = self._early, []
            return pieces
        self._feed()
        if not self._has_something():
            self._wait(seconds)
        return self._pieces()

    def stop(self) -> bool:
        self._learn_group()
        # Without a group there is nothing to signal: to close a channel does not end its command.
        return self._preamble.group is not None and self._stopper(self._preamble.group)

    def close(self) -> None:
        hang_up(self._channel)

    def _has_ended(self) -> bool:
        # A connection that breaks closes its channels without an EOF.
        return bool(self._channel.eof_received or self._channel.closed)

    def _has_something(self) -> bool:
        """Whether there is output, or output held back that has to be released now."""
        arrived = self._channel.recv_ready() or self._channel.recv_stderr_ready()
        return arrived or (self._has_ended() and self._preamble.is_waiting)

    def _wait(self, seconds: float) -> None:
        """Wait for output, or for the exit code once there will be no more output."""
        if self._has_ended():
            # The exit status may come after the EOF, and no event of a stream tells of it.
            self._channel.status_event.wait(seconds)
        elif self._input is None:
            self._arrived.wait(seconds)
        elif not self._channel.send_ready():
            # No event tells that the window has opened: look again soon.
            self._arrived.wait(FEED_TICK)

    def _pieces(self) -> list[Piece]:
        pieces = []
        has_ended = self._has_ended()  # read first: the last output may arrive in between
        if self._channel.recv_ready():
            pieces.append((Stream.STDOUT, self._preamble.take(self._channel.recv(READ_BYTES))))
        elif has_ended:
            pieces.append((Stream.STDOUT, self._preamble.end()))
        if self._channel.recv_stderr_ready():
            data = self._channel.recv_stderr(READ_BYTES)
            if self._preamble.is_waiting:
                self._errors = (self._errors + data)[-PREAMBLE_BYTES:]
            pieces.append((Stream.STDERR, data))
        return [piece for piece in pieces if piece[1]]

    def _feed(self) -> None:
        """Send some input if the window is open; the command may end without reading it."""
        try:
            if self._input and self._channel.send_ready():
                sent = self._channel.send(bytes(self._input[:READ_BYTES]))
                self._input = self._input[sent:]
            if self._input is not None and not self._input:
                self._input = None
                self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            self._input = None

    def _learn_group(self) -> None:
        """Read on for a moment if the line with the process group has not come yet."""
        until = time.monotonic() + GROUP_TIMEOUT
        while self._preamble.group is None and time.monotonic() < until:
            if self._has_ended():
                return
            self._arrived.wait(FEED_TICK)
            # Output that came with it is not ours to drop: the next read returns it.
            self._early += self._pieces()


def no_commands(where: str, output: bytes) -> NoCommands:
    """Return the error for a server that logged us in, and then ran something else or nothing."""
    return NoCommands(
        _(
            "%(where)s lets us in, but runs no commands for this account. It says: "
            "%(output)s. Check the account's login shell, ForceCommand in sshd_config "
            "and command= in its authorized_keys."
        ),
        where=where,
        output=one_line(output) or "nothing",
    )


def one_line(output: bytes) -> str:
    """Return a server's output as one line of limited length, without control characters."""
    lines = [" ".join(line.split()) for line in output.decode(errors="replace").splitlines()]
    text = "".join(one for one in " / ".join(filter(None, lines)) if one.isprintable())
    return text.rstrip(".")[:SHOWN_CHARACTERS]
