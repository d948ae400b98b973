"""A command's output on disk: frames in segments, of which the oldest are dropped."""

from __future__ import annotations

import os
import struct

from .files import private

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from typing import BinaryIO, Dict  # noqa: UP035

    Offsets = Dict[int, int]  # noqa: UP006  Python 3.8 has no other
    """Bytes by stream."""

OUT, ERR = 1, 2
HEADER = struct.Struct(">BI")
SEGMENT_BYTES = 4 * 1024 * 1024
KEPT_BYTES = 64 * 1024 * 1024
READ_BYTES = 256 * 1024


class Segment:
    """A file of frames, with how much of each stream came before it."""

    def __init__(self, path: str, number: int, out: int, err: int) -> None:
        self.path = path
        self.number = number
        self.out = out
        self.err = err


class Writer:
    """Appends a command's output."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._written = {OUT: 0, ERR: 0}
        self._segments: list[Segment] = []
        self._size = 0
        self._file = self._next_segment()

    def write(self, stream: int, data: bytes) -> None:
        """Append bytes of a stream. Raises OSError if the disk is full."""
        if self._size >= SEGMENT_BYTES:
            self._file.close()
            self._file = self._next_segment()
        view = memoryview(HEADER.pack(stream, len(data)) + data)
        while view:
            view = view[self._file.write(view) :]
        self._size += HEADER.size + len(data)
        self._written[stream] += len(data)

    @property
    def is_full(self) -> bool:
        """Whether the oldest output has to be dropped before more is kept."""
        return len(self._segments) * SEGMENT_BYTES > KEPT_BYTES

    @property
    def oldest(self) -> int:
        """The number of the oldest segment that is kept."""
        return self._segments[0].number

    def drop_oldest(self) -> None:
        os.unlink(self._segments.pop(0).path)

    def close(self) -> None:
        self._file.close()

    def _next_segment(self) -> io.FileIO:
        number = self._segments[-1].number + 1 if self._segments else 0
        name = f"out.{number:08d}.{self._written[OUT]}.{self._written[ERR]}"
        path = os.path.join(self._folder, name)
        self._segments.append(Segment(path, number, self._written[OUT], self._written[ERR]))
        self._size = 0
        return open(path, "wb", buffering=0, opener=private)


def segments(folder: str) -> list[Segment]:
    """Return the segments in a folder, oldest first."""
    found = []
    for name in os.listdir(folder):
        if name.startswith("out."):
            number, out, err = map(int, name.split(".")[1:])
            found.append(Segment(os.path.join(folder, name), number, out, err))
    return sorted(found, key=lambda segment: segment.number)


class Reader:
    """Reads output from given offsets on, even while it is being written."""

    def __init__(self, folder: str, offsets: Offsets) -> None:
        self._folder = folder
        self._wanted = dict(offsets)
        self._at = {OUT: 0, ERR: 0}
        self._file: BinaryIO | None = None
        self.number = -1
        """The number of the segment being read."""

    def read(self) -> list[tuple[int, bytes]]:
        """Return the next pieces, if any. A piece of stream 0 has the number of bytes lost."""
        pieces: list[tuple[int, bytes]] = []
        size = 0
        while size < READ_BYTES:
            piece = self._next_frame()
            if piece is None:
                if not self._open_next(pieces):
                    break
                continue
            stream, data = piece
            size += len(data)
            skipped = max(0, self._wanted[stream] - self._at[stream])
            self._at[stream] += len(data)
            if data[skipped:]:
                pieces.append((stream, data[skipped:]))
                self._wanted[stream] = self._at[stream]
        return pieces

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _next_frame(self) -> tuple[int, bytes] | None:
        """Return the next complete frame of the open segment."""
        if self._file is None:
            return None
        start = self._file.tell()
        head = self._file.read(HEADER.size)
        if len(head) == HEADER.size:
            stream, length = HEADER.unpack(head)
            data = self._file.read(length)
            if len(data) == length:
                return stream, data
        # It is still being written: next time from its start.
        self._file.seek(start)
        return None

    def _open_next(self, pieces: list[tuple[int, bytes]]) -> bool:
        """Open the next segment; False if there is none yet."""
        # Writer and reader share one thread: if there is a later segment, the open one is whole.
        later = [each for each in segments(self._folder) if each.number > self.number]
        if not later:
            return False
        segment = later[0]
        self.close()
        self._file = open(segment.path, "rb")  # noqa: SIM115  close does
        lost = max(0, segment.out - max(self._wanted[OUT], self._at[OUT]))
        lost += max(0, segment.err - max(self._wanted[ERR], self._at[ERR]))
        if lost:
            pieces.append((0, str(lost).encode()))
        self.number = segment.number
        self._at = {OUT: segment.out, ERR: segment.err}
        self._wanted = {key: max(self._wanted[key], self._at[key]) for key in self._at}
        return True
