"""Text from a manager, made safe and short for a terminal: colours stay, other controls go."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text

NAMES_SHOWN = 12
LETTERS_OF_A_COMMIT = 8

_CONTROLS = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    - {ord("\t"), ord("\n")},
    "\N{REPLACEMENT CHARACTER}",
)
"""Control characters, and those that change the direction of text."""

_CONTROL_STRING = re.compile(r"\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?")
"""Titles, links and the like; one without an end reaches to the next escape."""

_PLACEHOLDER = "\x1b="
"""An escape that rich drops. It keeps the text on both sides from joining into a new escape."""

_OVERLONG_COLOUR = re.compile(r"\x1b\[[0-?]{41,}")
"""rich reads a colour's number with int(), which raises ValueError above 4,300 digits."""


def plain(text: str) -> str:
    """Return a text without terminal controls; tabs and ends of lines stay."""
    return text.translate(_CONTROLS)


def clean_line(line: str) -> Text:
    """Return a line with its colours; of text written over itself (CR), the last writing."""
    line = _OVERLONG_COLOUR.sub(_PLACEHOLDER, _CONTROL_STRING.sub(_PLACEHOLDER, line))
    text = Text.from_ansi(line.rstrip("\r\n").replace("\n", " "))
    text.plain = plain(text.plain)
    return text


def clean(value: object) -> str:
    """Return plain text without colours and controls, line by line; blank for nothing."""
    if value is None:
        return ""
    return "\n".join(clean_line(line).plain for line in str(value).split("\n"))


def shorten(names: Sequence[object]) -> str:
    """Return names in a line; of many, the first and the number of the others."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return clean(", ".join(map(str, names[:NAMES_SHOWN])) + more).replace("\n", " ")


def short(commit: object) -> str:
    """Return as much of a commit's hash as people read."""
    return clean(commit)[:LETTERS_OF_A_COMMIT]


def seconds_between(started: object, finished: object) -> str:
    """Return how long it took, or has taken so far, like `1.2 s`; blank if it never began."""
    begin, end = _moment(started), _moment(finished)
    if begin is None:
        return ""
    return f"{max(((end or datetime.now(UTC)) - begin).total_seconds(), 0):.1f} s"


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
