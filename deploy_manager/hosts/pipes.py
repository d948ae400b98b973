"""Both ends of a program that was started to be spoken to, on another machine or on this one."""

import contextlib
import select
import subprocess
from typing import Protocol

import paramiko

from deploy_manager.exceptions import ConnectionLost
from deploy_manager.hosts.hanging_up import hang_up

READ_BYTES = 256 * 1024
SAID_BYTES = 2000
ENDS_WITHIN = 2.0
SETTLES_WITHIN = 0.5
"""Seconds in which a connection that broke is known to be broken."""


class Pipe(Protocol):
    """What goes into a program, and what comes out of it."""

    def send(self, data: bytes) -> None:
        """Send all of it. Raises ConnectionLost."""

    def receive(self, seconds: float) -> bytes:
        """Return what came, waiting this long for it; blank: nothing did. Raises ConnectionLost."""

    def complaint(self) -> str | None:
        """What the program said on its standard error, where it ended; None: the link did."""

    def close(self) -> None:
        """Let go of it."""


class SshPipe:
    """A program on another machine."""

    def __init__(self, channel: paramiko.Channel, where: str) -> None:
        self._channel = channel
        self._where = where

    def send(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise _lost(self._where) from error

    def receive(self, seconds: float) -> bytes:
        self._channel.settimeout(seconds)
        try:
            data = self._channel.recv(READ_BYTES)
        except TimeoutError:
            return b""
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise _lost(self._where) from error
        finally:
            self._channel.settimeout(None)
        if not data:
            raise _lost(self._where)
        return data

    def complaint(self) -> str | None:
        if not self._has_ended():
            return None
        said = b""
        self._channel.settimeout(ENDS_WITHIN)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while len(said) < SAID_BYTES and (data := self._channel.recv_stderr(SAID_BYTES)):
                said += data
        return said.decode(errors="replace").strip()

    def _has_ended(self) -> bool:
        """Whether the program ended, and not the connection under it.

        There is no exit code of one that a signal ended: then the channel alone is closed.
        """
        self._channel.status_event.wait(ENDS_WITHIN)
        if self._channel.exit_status >= 0:
            return True
        transport = self._channel.get_transport()
        transport.join(SETTLES_WITHIN)
        return bool(self._channel.closed and transport.is_active())

    def close(self) -> None:
        hang_up(self._channel)


class LocalPipe:
    """A program on this machine."""

    def __init__(self, process: "subprocess.Popen[bytes]", where: str) -> None:
        self._process = process
        self._where = where

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101  it was asked for
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise _lost(self._where) from error

    def receive(self, seconds: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101  it was asked for
        try:
            if not select.select([self._process.stdout], [], [], seconds)[0]:
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
        return self._process.stderr.read(SAID_BYTES).decode(errors="replace").strip()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN)


def _lost(where: str) -> ConnectionLost:
    return ConnectionLost(
        f"The connection to {where} ended in the middle of a command: whether the command"
        " ended well is unknown."
    )
