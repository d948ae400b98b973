"""Output on its way to the log: cut into whole lines, secrets masked, bounded in memory."""

import re
from collections.abc import Iterator

MAX_LINE = 64 * 1024
"""Bytes. A longer line is stored in pieces."""

_LOGIN_IN_URL = re.compile(rb"(https?://|://[^/\s:@]*:)[^/\s]+@")
"""Of https the user as well, who may be a token; of others, as ssh://git@host, the password."""


def mask(text: bytes) -> bytes:
    """Return a text without the passwords and tokens in its URLs."""
    return _LOGIN_IN_URL.sub(rb"\1[masked]@", text)


def mask_text(text: str) -> str:
    """Return a message that may be stored and shown: masked, in letters every database accepts."""
    # PostgreSQL accepts no NUL in text, and UTF-8 no lone surrogates.
    return mask(text.encode(errors="replace")).decode(errors="replace").replace("\0", "\ufffd")


_CONTROLS = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    - {ord("\t"), ord("\n")},
    "\N{REPLACEMENT CHARACTER}",
)
"""Control characters, and those that change the direction of text."""


def plain(text: str) -> str:
    """Return a text without terminal controls; tabs and ends of lines stay."""
    return text.translate(_CONTROLS)


def cut_lines(lines: bytes, most: int) -> Iterator[bytes]:
    """Yield pieces of at most `most` bytes; only a line that is longer itself is cut."""
    start = 0
    while start < len(lines):
        end = start + most
        if end < len(lines):
            end = lines.rfind(b"\n", start, end) + 1 or end
        yield lines[start:end]
        start = end


class LineBuffer:
    """Collects the bytes of one stream and returns them in whole lines, masked.

    So a secret that arrives in two pieces is masked as well.
    """

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held(self) -> int:
        """Return how many bytes of an incomplete line are held back."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return the lines that they complete, possibly none."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > MAX_LINE:
            # An overlong line is cut after its last space, since no URL contains one.
            end = max(data.rfind(b" "), data.rfind(b"\t"), end - 1) + 1 or len(data)
        self._rest = data[end:]
        return mask(data[:end])

    def flush(self) -> bytes:
        """Return the rest: a last line without an end."""
        rest, self._rest = self._rest, b""
        return mask(rest)
