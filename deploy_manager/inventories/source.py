"""The content of a file: decoded, and parsed as JSON at most once."""

import codecs
import json
import re
from functools import cached_property
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.found import LeftOut, at_entry
from deploy_manager.messages import Message

LARGEST = 64 * 1024 * 1024
"""Bytes: a node of Chef is 100 KB or more, with all that Ohai knows."""

# `[web]` begins an INI file: JSON has a quote, a brace or the end after a bracket.
_JSON = re.compile(r"\s*(\{|\[\s*[\[{\"\]])")
_BLANK = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


class Source:
    """A file's text. `documents` has what it says if it is JSON."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def is_json(self) -> bool:
        return _JSON.match(self.text) is not None

    @cached_property
    def documents(self) -> tuple[list[Any], list[LeftOut]]:
        """The documents of JSON, one after another as several calls of a tool print them.

        After one that can't be read all others are lost: they are left out, with the reason.
        Raises InventoryError if there is none.
        """
        found: list[Any] = []
        at = _skip(self.text, 0)
        while at < len(self.text):
            try:
                document, at = _DECODER.raw_decode(self.text, at)
            except (ValueError, RecursionError) as error:
                broken = _explain(error)
                if not found:
                    raise InventoryError(broken) from None
                return found, [LeftOut(at_entry(len(found) + 1), broken)]
            found.append(document)
            at = _skip(self.text, at)
        return found, []

    @property
    def rows(self) -> list[Any]:
        """The documents, with the items of those that are lists instead of these."""
        found, _left_out = self.documents
        return [row for each in found for row in (each if isinstance(each, list) else [each])]


def decode_source(data: bytes) -> Source:
    """Return the text of a file. Raises InventoryError if it is none, empty or too large."""
    if len(data) > LARGEST:
        raise InventoryError(
            _("The file is larger than %(most)s MiB: split it."), most=LARGEST // 1024**2
        )
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InventoryError(
            _("The file is not text in UTF-8, in line %(line)s: save it in UTF-8."), line=line
        ) from None
    if "\0" in text:
        raise InventoryError(_("The file contains NUL characters: it is not a text file."))
    if not text.strip():
        raise InventoryError(_("The file is empty."))
    return Source(text)


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _explain(error: Exception) -> Message:
    if isinstance(error, json.JSONDecodeError):
        return Message(
            _("This is not JSON, in line %(line)s, column %(column)s: %(why)s"),
            line=error.lineno,
            column=error.colno,
            why=error.msg,
        )
    if isinstance(error, RecursionError):
        return Message(_("Its JSON is nested too deeply."))
    return Message(_("Its JSON has a number with too many digits."))
