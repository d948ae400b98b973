"""Output on its way to the log: bytes to whole lines, secrets masked, nothing unbounded."""

import re
from collections.abc import Iterator

MAX_LINE = 64 * 1024
"""Bytes. A longer line is written in pieces."""

_WHO_IN_URL = re.compile(rb"(https?://|://[^/\s:@]*:)[^/\s]+@")


def mask(text: bytes) -> bytes:
    """Hide what must not stand in a log: passwords and tokens in URLs."""
    return _WHO_IN_URL.sub(rb"\1[masked]@", text)


def mask_text(text: str) -> str:
    """Return a message as it may be stored and shown: masked, in letters every database takes."""
    return mask(text.encode(errors="replace")).decode(errors="replace").replace("\0", "\ufffd")


_CONTROLS = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    - {ord("\t"), ord("\n")},
    "\N{REPLACEMENT CHARACTER}",
)
"""Control characters, and those that turn the direction of text around."""


def plain(text: str) -> str:
    """Return a text that does nothing to the terminal it is printed on; lines stay lines."""
    return text.translate(_CONTROLS)


def cut_lines(lines: bytes, most: int) -> Iterator[bytes]:
    """Yield pieces of at most `most` bytes, cut in a line only where it alone is longer."""
    start = 0
    while start < len(lines):
        end = start + most
        if end < len(lines):
            end = lines.rfind(b"\n", start, end) + 1 or end
        yield lines[start:end]
        start = end


class LineBuffer:
    """Gathers one stream's bytes and gives them back by whole lines, masked.

    A secret that arrives in two pieces is masked all the same, since a line is looked at whole.
    """

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held(self) -> int:
        """How many bytes of a line that is not complete are held back."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return the lines they completed, possibly none."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > MAX_LINE:
            end = _where_to_cut(data, end)
        self._rest = data[end:]
        return mask(data[:end])

    def flush(self) -> bytes:
        """Return what is left: a last line without an end."""
        rest, self._rest = self._rest, b""
        return mask(rest)


def _where_to_cut(data: bytes, start: int) -> int:
    """Cut an overlong line after its last space: no URL has one."""
    return max(data.rfind(b" "), data.rfind(b"\t"), start - 1) + 1 or len(data)
