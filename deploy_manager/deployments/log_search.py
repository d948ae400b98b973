"""Searching the log of a deployment, however long it is: read piece by piece, never as a whole."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from deploy_manager.models import Deployment, HostRun

MOST_LINES = 200
MOST_OF_A_LINE = 64 * 1024
"""Bytes of a line without an end that are kept until its end comes."""

SHOWN_BYTES = 500
"""Of a line, around what was found in it."""


class FoundLine(NamedTuple):
    """A line with the text, numbered as in the log of its server that is downloaded."""

    run: HostRun
    number: int
    data: bytes


class Found(NamedTuple):
    lines: list[FoundLine]
    more: bool
    """Whether there are more lines than are returned."""


def search_log(
    deployment: Deployment, text: str, run_id: int | None = None, most: int = MOST_LINES
) -> Found:
    """Return the first lines with a text, server after server, or of the one with this run.

    Small and capital letters from a to z are the same.
    """
    needle = text.encode(errors="replace").lower()
    if not needle:
        return Found([], more=False)
    runs = deployment.host_runs.order_by("pk")
    if run_id is not None:
        runs = runs.filter(pk=run_id)
    lines = (
        FoundLine(run, number, _around(line, needle))
        for run in runs
        for number, line in _lines_with(needle, _pieces_of(run))
    )
    found = list(islice(lines, most + 1))
    return Found(found[:most], more=len(found) > most)


def _pieces_of(run: HostRun) -> Iterator[bytes]:
    # Few at a time: a chunk may be large, and a log larger than memory.
    pieces = run.log_chunks.order_by("sequence").values_list("data", flat=True)
    return map(bytes, pieces.iterator(chunk_size=20))


def _lines_with(needle: bytes, pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that contain the lower-case needle, each once, with their numbers."""
    number, told, rest = 1, 0, b""
    for piece in pieces:
        text = rest + piece
        end = text.rfind(b"\n") + 1
        whole, rest = text[:end], text[end:]
        for each, line in _matches(needle, whole, number):
            if each != told:
                yield each, line
        number += whole.count(b"\n")
        if len(rest) > MOST_OF_A_LINE:
            # What is left out of memory was looked through before.
            if told != number and needle in rest.lower():
                told = number
                yield number, rest
            rest = rest[-MOST_OF_A_LINE:]
    for each, line in _matches(needle, rest, number):
        if each != told:
            yield each, line


def _matches(needle: bytes, text: bytes, number: int) -> Iterator[tuple[int, bytes]]:
    lowered = text.lower()
    counted, at = 0, lowered.find(needle)
    while at >= 0:
        number += text.count(b"\n", counted, at)
        start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
        end = len(text) if end < 0 else end
        yield number, text[start:end]
        counted, at = end, lowered.find(needle, end)


def _around(line: bytes, needle: bytes) -> bytes:
    """Return the part of a line that is shown: from its beginning, or around what was found."""
    if len(line) <= SHOWN_BYTES:
        return line.rstrip(b"\r")
    start = max(0, line.lower().find(needle) - SHOWN_BYTES // 2)
    cut = line[start : start + SHOWN_BYTES]
    return (b"\xe2\x80\xa6" if start else b"") + cut + b"\xe2\x80\xa6"
