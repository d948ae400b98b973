"""The connection of the guard's client: frames in, frames out, without blocking."""

from __future__ import annotations

import time

from .frames import Unpacker, pack
from .lean import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .frames import Frame
    from .lean import socket

READ_BYTES = 256 * 1024
FULL = 1024 * 1024
"""Unsent bytes beyond which no more output is read for this client."""


class Gone(Exception):
    """The client hung up, or sent something that is not a frame."""


class Client:
    """One end of a socket."""

    def __init__(self, sock: socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._unpacker = Unpacker()
        self._unsent = bytearray()
        self._heard = time.monotonic()

    @property
    def wants_to_send(self) -> bool:
        return bool(self._unsent)

    @property
    def takes_more(self) -> bool:
        return len(self._unsent) < FULL

    def silent_for(self) -> float:
        """Seconds since the client last sent anything."""
        return time.monotonic() - self._heard

    def receive_first(self, seconds: float) -> Frame:
        """Return the first frame, which has to arrive within this time. Raises Gone."""
        self.sock.settimeout(seconds)
        frames: list[Frame] = []
        while not frames:
            frames = self.receive()
        self.sock.setblocking(False)
        return frames[0]

    def receive(self) -> list[Frame]:
        """Return the frames that arrived. Raises Gone."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self._heard = time.monotonic()
        try:
            return self._unpacker.feed(data)
        except ValueError as error:
            raise Gone from error

    def send(self, kind: int, payload: Any = b"") -> None:
        """Send a frame, or the part of it that can be sent now. Raises Gone."""
        self._unsent += pack(kind, payload)
        self.send_on()

    def send_on(self) -> None:
        """Send more of the unsent bytes. Raises Gone."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent[:READ_BYTES])]
        except BlockingIOError:
            pass
        except OSError as error:
            raise Gone from error

    def close(self) -> None:
        with suppress(OSError):
            self.sock.close()
