"""Text of any origin, made safe and short for a terminal: colours stay, other controls go."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone
from rich.text import Text

from deploy_manager.logs import plain

NAMES_SHOWN = 12

_CONTROL_STRING = re.compile(r"\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?")
"""Titles, links and the like; one without an end reaches to the next escape."""

_PLACEHOLDER = "\x1b="
"""An escape that rich drops. It keeps the text on both sides from joining into a new escape."""

_OVERLONG_COLOUR = re.compile(r"\x1b\[[0-?]{41,}")
"""rich reads a colour's number with int(), which raises ValueError above 4,300 digits."""


def clean_line(line: str) -> Text:
    """Return a line with its colours; of text written over itself (CR), the last writing."""
    line = _OVERLONG_COLOUR.sub(_PLACEHOLDER, _CONTROL_STRING.sub(_PLACEHOLDER, line))
    text = Text.from_ansi(line.rstrip("\r\n").replace("\n", " "))
    text.plain = plain(text.plain)
    return text


def clean(text: str) -> str:
    """Return plain text without colours and controls, line by line."""
    return "\n".join(clean_line(line).plain for line in text.split("\n"))


def as_text(value: Any) -> Any:
    """Return an argument, or each of a list, as text that databases and pages accept.

    Python keeps bytes of a command line that are not UTF-8 as lone surrogates, which cannot be
    encoded again. Values of other types, like a path, stay as they are.
    """
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return [as_text(each) for each in value] if isinstance(value, list) else value


def shorten(names: Sequence[str]) -> str:
    """Return names in a line; of many, the first and the number of the others."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def seconds_between(started: datetime | None, finished: datetime | None) -> str:
    """Return how long it took, or has taken so far, like `1.2 s`; blank if it never began."""
    if started is None:
        return ""
    return f"{max(((finished or timezone.now()) - started).total_seconds(), 0):.1f} s"
