"""A server's words on a terminal: its colours kept, every other control taken out."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone
from rich.text import Text

from deploy_manager.logs import plain

NAMES_SHOWN = 12

_CONTROL_STRING = re.compile(r"\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?")
"""Titles, links and other strings to the terminal; without an end: up to the next escape."""

_PLACEHOLDER = "\x1b="
"""An escape that rich drops, left in its place: its neighbours must not become a new one."""

_OVERLONG_COLOUR = re.compile(r"\x1b\[[0-?]{41,}")


def clean_line(line: str) -> Text:
    """Return one line with its colours; where it was written over (CR) its last writing."""
    line = _OVERLONG_COLOUR.sub(_PLACEHOLDER, _CONTROL_STRING.sub(_PLACEHOLDER, line))
    text = Text.from_ansi(line.rstrip("\r\n").replace("\n", " "))
    text.plain = plain(text.plain)
    return text


def clean(text: str) -> str:
    """Return words of any origin as plain text without controls, line by line."""
    return "\n".join(clean_line(line).plain for line in text.split("\n"))


def as_text(arguments: Any) -> Any:
    """Return what was typed as letters that a database and a page take, whatever bytes it was.

    Of a list each one; what is no text, like the path of a file, stays as it is.
    """
    if isinstance(arguments, str):
        return arguments.encode(errors="replace").decode()
    return [as_text(each) for each in arguments] if isinstance(arguments, list) else arguments


def shorten(names: Sequence[str]) -> str:
    """Return names in a line, the first of them where there are many."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def seconds_between(started: datetime | None, finished: datetime | None) -> str:
    """How long it took, or takes so far, like `1.2 s`; blank where it never began."""
    if started is None:
        return ""
    return f"{max(((finished or timezone.now()) - started).total_seconds(), 0):.1f} s"
