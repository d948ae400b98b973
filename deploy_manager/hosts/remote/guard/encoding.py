"""UTF-8 for the guard and its commands, whatever the account's locale is."""

from __future__ import annotations

import os

from .lean import locale

UTF8 = "C.UTF-8"


def speak_utf8() -> None:
    """Have this process and those it starts use UTF-8; the account's language stays if possible.

    Locales that are missing or have another encoding are removed. PYTHONUTF8 is set as well: a site
    may set a locale in its variables, and a server may have no UTF-8 locale at all.
    """
    # It would take precedence over UTF-8 mode (PEP 540).
    os.environ.pop("PYTHONIOENCODING", None)
    os.environ["PYTHONUTF8"] = "1"
    if _is_utf8():
        # A site's LANG may imply another encoding; LC_CTYPE takes precedence.
        os.environ["LC_CTYPE"] = locale.setlocale(locale.LC_CTYPE, None)
        return
    os.environ.pop("LC_ALL", None)
    os.environ["LC_CTYPE"] = UTF8
    if _is_utf8():
        return
    for name in [name for name in os.environ if name == "LANG" or name.startswith("LC_")]:
        del os.environ[name]
    os.environ["LC_CTYPE"] = UTF8


def _is_utf8() -> bool:
    """Whether a program started now would find its locale, and in UTF-8."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        return False
    return locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8"
