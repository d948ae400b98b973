"""Pipes to the standard streams of a program, on a server or on this machine."""

import contextlib
import os
import select
import subprocess
from threading import Event
from typing import IO, Protocol

import paramiko
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import ConnectionLost
from deploy_manager.hosts.channel import hang_up

READ_BYTES = 256 * 1024
ERROR_BYTES = 2000
ENDS_WITHIN = 2.0
"""Seconds to wait for a program whose output has ended."""

SENDS_WITHIN = 60.0
"""Seconds in which a program has to take more of its input."""

SETTLES_WITHIN = 0.5
"""Seconds in which a connection that broke is known to be broken."""


class Pipe(Protocol):
    """The standard input and output of a program."""

    def send(self, data: bytes) -> None:
        """Send all of it, while others may receive. Raises ConnectionLost.

        After an error nothing more can be sent or received, as part of it may have been sent.
        """

    def receive(self, seconds: float) -> bytes:
        """Return output, waiting this long for it; blank if none came. Raises ConnectionLost."""

    def complaint(self) -> str | None:
        """Return the standard error of a program that ended; None if the connection was lost."""

    def close(self) -> None:
        """Close the streams; a local program is waited for."""


class SshPipe:
    """A program on another machine."""

    def __init__(self, channel: paramiko.Channel, where: str) -> None:
        self._channel = channel
        self._where = where
        self._arrived = Event()
        # paramiko has one time limit for both directions: it is for sending, and who receives waits
        # for the event.
        channel.settimeout(SENDS_WITHIN)
        channel.in_buffer.set_event(self._arrived)

    def send(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            hang_up(self._channel)
            raise _lost(self._where) from error

    def receive(self, seconds: float) -> bytes:
        if not self._arrived.wait(seconds):
            return b""
        try:
            data = self._channel.recv(READ_BYTES)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise _lost(self._where) from error
        if not data:
            raise _lost(self._where)
        return data

    def complaint(self) -> str | None:
        self._channel.status_event.wait(ENDS_WITHIN)
        if self._channel.exit_status < 0:
            # sshd sends no exit status for a program that a signal ended: it only closes the
            # channel. If the transport is closed as well, the connection was lost.
            transport = self._channel.get_transport()
            transport.join(SETTLES_WITHIN)
            if not (self._channel.closed and transport.is_active()):
                return None
        error_output = b""
        self._channel.settimeout(ENDS_WITHIN)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while len(error_output) < ERROR_BYTES and (
                data := self._channel.recv_stderr(ERROR_BYTES)
            ):
                error_output += data
        return error_output.decode(errors="replace").strip()

    def close(self) -> None:
        hang_up(self._channel)


class LocalPipe:
    """A program on this machine."""

    def __init__(self, process: "subprocess.Popen[bytes]", where: str) -> None:
        self._process = process
        self._where = where
        assert process.stdin is not None  # noqa: S101  it was asked for
        # Else writing could not be given up.
        os.set_blocking(process.stdin.fileno(), False)

    def send(self, data: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  it was asked for
        left = memoryview(data)
        try:
            while left:
                if not _is_ready(stdin, select.POLLOUT, SENDS_WITHIN):
                    raise TimeoutError
                left = left[stdin.write(left) or 0 :]
        except (OSError, ValueError) as error:
            _close(stdin, self._process.stdout)
            raise _lost(self._where) from error

    def receive(self, seconds: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101  it was asked for
        try:
            if not _is_ready(self._process.stdout, select.POLLIN, seconds):
                return b""
            data = self._process.stdout.read(READ_BYTES)
        except (OSError, ValueError) as error:
            raise _lost(self._where) from error
        if not data:
            raise _lost(self._where)
        return bytes(data)

    def complaint(self) -> str | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN)
        if self._process.stderr is None or self._process.poll() is None:
            return ""
        return self._process.stderr.read(ERROR_BYTES).decode(errors="replace").strip()

    def close(self) -> None:
        _close(self._process.stdin, self._process.stdout, self._process.stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN)


def _is_ready(pipe: IO[bytes], event: int, seconds: float) -> bool:
    """Wait for an event; not by select, which fails for files with a number above 1023."""
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(seconds * 1000))


def _close(*pipes: IO[bytes] | None) -> None:
    for pipe in pipes:
        if pipe is not None:
            with contextlib.suppress(OSError, ValueError):
                pipe.close()


def _lost(where: str) -> ConnectionLost:
    return ConnectionLost(
        _(
            "The connection to %(where)s was lost during a command: whether the command "
            "succeeded is unknown. Check the server."
        ),
        where=where,
    )
