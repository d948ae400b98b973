"""Output on its way to the log: cut into whole lines, secrets masked, bounded in memory."""

import logging
import traceback
from collections.abc import Iterator

from deploy_manager.masking import Masker, mask_logins, masker, place_in, replaced, work

KEPT_BEFORE = 3
"""Bytes; a line that ends with more of a secret is held back."""

MAX_LINE = 64 * 1024
"""Bytes. A longer line is stored in pieces."""


def mask(text: bytes) -> bytes:
    """Return a text without the secrets of this work, nor the passwords and tokens in its URLs."""
    return masker().mask(text)


def mask_text(text: str) -> str:
    """Return a message that may be stored and shown: masked, in letters every database accepts."""
    return masker().mask_text(text)


def log_error(logger: logging.Logger, text: str, *args: object) -> None:
    """Log an error with its traceback, masked, in an `except` block.

    As text: what mails errors would show the values in each frame, too.
    """
    trace = mask_text(traceback.format_exc()).rstrip()
    logger.error(f"{text}\n%s", *(mask_text(str(each)) for each in args), trace)


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


def _start_of_line(data: bytes, place: int) -> int:
    """Return where the line begins that has this place, or what stands there in one too long."""
    start = data.rfind(b"\n", 0, place) + 1
    if place - start <= MAX_LINE:
        return start
    return max(data.rfind(b" ", start, place), data.rfind(b"\t", start, place)) + 1 or place


class LineBuffer:
    """Collects the bytes of one stream and returns them in whole lines, masked.

    So a secret that arrives in two pieces is masked as well. Lines that may be the beginning of a
    secret are held back until what follows them shows it. It masks the secrets of the work that
    made it, whichever thread feeds it.
    """

    def __init__(self) -> None:
        self._work = work()
        self._rest = b""
        self._before = b""
        """The last letters that were given back: too few to hold a line back for them."""

    @property
    def _masker(self) -> Masker:
        # Asked each time: the work may have opened another secret meanwhile.
        return self._work.masker

    @property
    def held(self) -> int:
        """Return how many bytes are held back: an incomplete line, or what may be a secret's."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return the lines that they complete, possibly none."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > MAX_LINE:
            # An overlong line is cut after its last space, since no URL contains one.
            end = max(data.rfind(b" "), data.rfind(b"\t"), end - 1) + 1 or len(data)
        if not end:
            self._rest = data
            return b""
        return self._give(data, end)

    def flush(self) -> bytes:
        """Return the rest: a last line without an end."""
        rest, self._rest = self._rest, b""
        return self._masker.mask(rest)

    def _give(self, data: bytes, end: int) -> bytes:
        """Return what comes before this place, or before the secret in which it is."""
        ahead = len(self._before)
        found, begins = self._masker.find(self._before + data)
        found = [(max(0, start - ahead), last - ahead) for start, last in found if last > ahead]
        if begins is not None:
            end = min(end, _start_of_line(data, place_in(data, max(0, begins - ahead))))
        within = len(data[:end].translate(None, b"\r\n"))
        while found and found[-1][1] > within:
            if (start := found.pop()[0]) < within:
                end = min(end, _start_of_line(data, place_in(data, start)))
                within = len(data[:end].translate(None, b"\r\n"))
        if not end and len(data) > MAX_LINE + self._masker.most_held:
            # Never without bound: nothing that is a secret is so long.
            self._rest = b""
            return self._masker.mask(data)
        self._rest = data[end:]
        self._before = (self._before + data[:end].translate(None, b"\r\n"))[-KEPT_BEFORE:]
        return mask_logins(replaced(data[:end], found)) if end else b""
