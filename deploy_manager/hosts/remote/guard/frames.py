"""The protocol between worker and guard: frames of a kind, a length and a payload."""

from __future__ import annotations

import struct

from .lean import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Tuple  # noqa: UP035

    Frame = Tuple[int, bytes]  # noqa: UP006  Python 3.8 has no other
else:
    Frame = tuple

VERSION = 2
HEADER = struct.Struct(">BI")
MOST = 4 * 1024 * 1024
"""The largest payload, in bytes: a greater length means that the stream is not ours."""

READY = b"\0deploy-manager guard\n"
"""Sent before the first frame: anything before it was printed by the account's shell profile."""


class Kind:
    """Kinds of frames. Control frames carry JSON, the others bytes."""

    HELLO = 1
    RUN = 2
    INPUT = 3
    START = 4
    KILL = 5
    PUT = 6
    DATA = 7
    PUT_END = 8
    PING = 9
    BYE = 10

    WELCOME = 20
    REFUSED = 21
    OUT = 22
    ERR = 23
    CUT = 24
    EXIT = 25
    UNKNOWN = 26
    KILLED = 27
    PUT_DONE = 28
    FAILED = 29
    RECORDS = 30
    AGAIN = 31
    STARTED = 32


NAMES = {number: name for name, number in vars(Kind).items() if name.isupper()}


def pack(kind: int, payload: bytes | Any = b"") -> bytes:
    """Return a frame; a payload that is not bytes is written as JSON."""
    data = payload if isinstance(payload, bytes) else dumps(payload).encode()
    return HEADER.pack(kind, len(data)) + data


class Unpacker:
    """Collects bytes into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def rest(self) -> bytes:
        """The bytes of a frame that is not complete yet."""
        return bytes(self._data)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes; return the frames they completed. Raises ValueError for anything else."""
        self._data += data
        return list(self._frames())

    def _frames(self) -> Iterator[Frame]:
        while len(self._data) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._data)
            if length > MOST:
                raise ValueError("a frame is too long")
            end = HEADER.size + length
            if len(self._data) < end:
                return
            payload = bytes(self._data[HEADER.size : end])
            del self._data[:end]
            if kind not in NAMES:
                raise ValueError(f"{kind} is no kind of frame")
            yield kind, payload
