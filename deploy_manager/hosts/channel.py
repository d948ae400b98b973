"""A command over SSH while it runs: its channel read and fed without ever waiting for one side."""

import re
import time
from collections.abc import Callable, Sequence
from threading import Event

import paramiko

from deploy_manager.exceptions import ConnectionLost
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.running import Piece

READ_BYTES = 64 * 1024
FEED_TICK = 0.01
"""Seconds between two looks whether the server takes more input."""

PREAMBLE_BYTES = 64 * 1024
GROUP_TIMEOUT = 2.0
"""Seconds to wait, before stopping a command, for the line that tells its process group."""

Stopper = Callable[[int], bool]
"""Ends a process group of the server; returns whether it was seen to be gone."""


class Preamble:
    """Takes the line with the process group off the front of what a command prints.

    What stands before it comes from the account's shell profile and is no part of the command's
    output; unless the line never comes: then it is all there is.
    """

    def __init__(self, marker: str) -> None:
        self._line = re.compile(rb"%s (\d+)\n" % marker.encode())
        self._held: bytes | None = b""
        self.group: int | None = None

    def take(self, data: bytes) -> bytes:
        """Return what of `data` is the command's own, as far as is known yet."""
        if self._held is None:
            return data
        self._held += data
        if found := self._line.search(self._held):
            self.group = int(found[1])
            return self._release(found.end())
        return self._release() if len(self._held) > PREAMBLE_BYTES else b""

    def end(self) -> bytes:
        """Return what was held back for a line that never came."""
        return b"" if self._held is None else self._release()

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
        self._arrived = Event()
        channel.settimeout(0)
        channel.in_buffer.set_event(self._arrived)
        channel.in_stderr_buffer.set_event(self._arrived)

    @property
    def exit_code(self) -> int | None:
        """The exit code. Raises ConnectionLost where the channel ended without one."""
        if not self._channel.exit_status_ready():
            return None
        code = self._channel.recv_exit_status()
        if code >= 0:
            return code
        if not self.is_drained:
            return None
        raise ConnectionLost(
            f"The connection to {self._where} ended in the middle of a command: whether the command"
            " ended well is unknown."
        )

    @property
    def is_drained(self) -> bool:
        channel = self._channel
        ended = bool(channel.eof_received or channel.closed)
        return ended and not self._has_arrived() and not self._early

    def read(self, seconds: float) -> Sequence[Piece]:
        if self._early:
            pieces, self._early = self._early, []
            return pieces
        self._feed()
        if not self._has_arrived():
            self._wait(seconds)
        return self._pieces()

    def stop(self) -> bool:
        self._learn_group()
        return self._preamble.group is not None and self._stopper(self._preamble.group)

    def close(self) -> None:
        self._channel.close()

    def _has_arrived(self) -> bool:
        return self._channel.recv_ready() or self._channel.recv_stderr_ready()

    def _wait(self, seconds: float) -> None:
        """Wait for output; where there will be none any more, for the exit code."""
        if self._channel.eof_received:
            self._channel.status_event.wait(seconds)
        else:
            self._arrived.wait(min(seconds, FEED_TICK) if self._input is not None else seconds)

    def _pieces(self) -> list[Piece]:
        pieces = []
        ends = self._channel.eof_received
        if self._channel.recv_ready():
            pieces.append((Stream.STDOUT, self._preamble.take(self._channel.recv(READ_BYTES))))
        if self._channel.recv_stderr_ready():
            pieces.append((Stream.STDERR, self._channel.recv_stderr(READ_BYTES)))
        if ends and not self._channel.recv_ready():
            pieces.append((Stream.STDOUT, self._preamble.end()))
        return [piece for piece in pieces if piece[1]]

    def _feed(self) -> None:
        """Send what the server takes now; it need not read all of it before it ends."""
        try:
            while self._input:
                if not self._channel.send_ready():
                    return
                sent = self._channel.send(bytes(self._input[:READ_BYTES]))
                self._input = self._input[sent:]
            if self._input is not None:
                self._input = None
                self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            self._input = None

    def _learn_group(self) -> None:
        until = time.monotonic() + GROUP_TIMEOUT
        while self._preamble.group is None and time.monotonic() < until:
            if self._channel.closed:
                return
            self._arrived.wait(FEED_TICK)
            self._early += self._pieces()
