"""UTF-8 for all that is run here, whatever the account's locale is."""

from __future__ import annotations

import locale
import os

UTF8 = "C.UTF-8"


def speak_utf8() -> None:
    """Have this process and those it starts use UTF-8; the account's language stays if it can.

    Locales that are not there, or are of another encoding, give way. Python is told besides: a site
    may name a locale of its own in its variables, and a server may have none that is UTF-8.
    """
    os.environ.pop("PYTHONIOENCODING", None)
    os.environ["PYTHONUTF8"] = "1"
    if _is_utf8():
        # A language that a site names by LANG alone does not bring its encoding along.
        os.environ["LC_CTYPE"] = locale.setlocale(locale.LC_CTYPE)
        return
    os.environ.pop("LC_ALL", None)
    os.environ["LC_CTYPE"] = UTF8
    if _is_utf8():
        return
    for name in [name for name in os.environ if name == "LANG" or name.startswith("LC_")]:
        del os.environ[name]
    os.environ["LC_CTYPE"] = UTF8


def _is_utf8() -> bool:
    """Whether a program that is started now would find its locale, and that one of UTF-8."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        return False
    return locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8"
