"""Decode a requirements file by the rules of pip."""

import codecs
import re

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import PinError

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF16, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)
# https://peps.python.org/pep-0263/: only in the first two lines
_CODING = re.compile(rb"coding[:=]\s*([-\w.]+)")


def decode(data: bytes) -> str:
    """Return the text of a file: by its byte order mark, by a comment `coding:`, or as UTF-8.

    Raises PinError if it can't be decoded. pip would at last try the encoding of the machine's
    language; that is not done here, as a server may have another.
    """
    encoding, data = _encoding(data)
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError, ValueError):
        raise PinError(
            _(
                "it can't be read as %(encoding)s. Save it in UTF-8, or give its encoding "
                "in the first line: # -*- coding: latin-1 -*-"
            ),
            encoding=encoding,
        ) from None


def _encoding(data: bytes) -> tuple[str, bytes]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding, data[len(mark) :]
    for line in data.split(b"\n")[:2]:
        if line.startswith(b"#") and (found := _CODING.search(line)):
            return found.group(1).decode("ascii"), data
    return "utf-8", data
