"""A server's output as HTML: its colours kept, everything else of it plain text.

The converter is handed colours only. Links, titles, cursor moves and other controls are taken out
before, since some of them hide text, and one of them becomes a link that a server chose.
"""

import re

from ansi2html import Ansi2HTMLConverter
from django.utils.safestring import SafeString, mark_safe

_CONTROL_STRING = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
)
"""OSC (titles, links), DCS, SOS, PM and APC up to their end, at most to the end of the line."""

_ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[ -/]*[0-~]?")
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,40}m")
_TRUE_COLOUR = re.compile(r"[34]8;2(;|m)")
"""Left out: the converter would remember each of sixteen million colours for ever."""

_LEFT_OVER = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of text around."""


def to_html(data: bytes) -> SafeString:
    """Return output as safe HTML: text, and spans of classes such as `ansi31`.

    Colours begin anew in each call.
    """
    text = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    text = _ESCAPE.sub(_keep_colour, _CONTROL_STRING.sub("", text))
    text = _LEFT_OVER.sub("\N{REPLACEMENT CHARACTER}", text)
    converter = Ansi2HTMLConverter(inline=False, linkify=False, escaped=True)
    return mark_safe(converter.convert(text, full=False))  # noqa: S308  escaped by the converter


def to_text(data: bytes) -> str:
    """Return output as plain text without colours or controls."""
    text = data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    text = _ESCAPE.sub("", _CONTROL_STRING.sub("", text))
    return _LEFT_OVER.sub("\N{REPLACEMENT CHARACTER}", text)


def _keep_colour(match: re.Match[str]) -> str:
    code = match.group()
    return code if _COLOUR.fullmatch(code) and not _TRUE_COLOUR.search(code) else ""
