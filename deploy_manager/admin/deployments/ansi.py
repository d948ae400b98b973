"""A server's output as HTML with its colours.

The converter gets colours only. Links, titles, cursor movements and other controls are removed
before, since some of them hide text, and one of them would become a link that a server chose.
"""

import re

from ansi2html import Ansi2HTMLConverter
from django.utils.safestring import SafeString, mark_safe

_CONTROL_STRING = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
)
"""OSC (titles, links), DCS, SOS, PM and APC up to their end, at most to the end of the line.

ECMA-48, 5.6 and 8.3; an unterminated one must not swallow the rest of a log.
"""

_ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?")
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,40}m")
_TRUE_COLOUR = re.compile(r"[34]8;2(;|m)")
"""Removed: ansi2html keeps a style for each of 16 million colours for the life of the process."""

_LEFT_OVER = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of text."""


def to_html(data: bytes) -> SafeString:
    """Return output as safe HTML: text, and spans of classes such as `ansi31`.

    Each call starts without a colour.
    """
    text = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    text = _ESCAPE.sub(_keep_colour, _CONTROL_STRING.sub("", text))
    text = _LEFT_OVER.sub("\N{REPLACEMENT CHARACTER}", text)
    converter = Ansi2HTMLConverter(inline=False, linkify=False, escaped=True)
    return mark_safe(converter.convert(text, full=False))  # noqa: S308  escaped by the converter


def _keep_colour(match: re.Match[str]) -> str:
    code = match.group()
    return code if _COLOUR.fullmatch(code) and not _TRUE_COLOUR.search(code) else ""
