"""A page as a browser reads it: what would run there, and the forms that can be sent."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

from tests.parts.injection import CANARY

ADDRESSES = frozenset({"href", "src", "action", "formaction", "data", "poster", "background"})
HARMLESS = frozenset({"", "http", "https", "mailto"})
NAME = re.compile(r"[a-z][a-z0-9:._-]*")
TYPED = frozenset({"text", "url", "email", "search", "number", "password", "datetime-local", ""})
BUTTONS = frozenset({"submit", "button", "reset", "image"})


@dataclass
class Form:
    """One form of a page, with what a browser would send unchanged."""

    method: str
    action: str
    values: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    """The controls that people type text into."""

    uploads: list[str] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """Reads a page; `wrong` lists what no text of a row may have made."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._script = self._area = self._select = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        for name, value in has.items():
            if name.startswith("on") or not NAME.fullmatch(name) or name in ("srcdoc", "style"):
                self.wrong.append(f"<{tag} {name}={value[:60]!r}>")
            # A browser leaves out white space and controls before a scheme.
            scheme = urlsplit(re.sub(r"[\x00-\x20]", "", value)).scheme if name in ADDRESSES else ""
            if scheme not in HARMLESS:
                self.wrong.append(f"<{tag} {name}={value[:60]!r}>")
        if tag in ("iframe", "object", "embed", "base", "style") or CANARY in tag:
            self.wrong.append(f"<{tag}>")
        if tag == "script":
            self._script = has.get("type", "") or "text/javascript"
        self._read_control(tag, has)

    def _read_control(self, tag: str, has: dict[str, str]) -> None:
        name, kind = has.get("name", ""), has.get("type", "").lower()
        if tag == "form":
            self._form = Form(has.get("method", "get").lower(), has.get("action", ""))
            self.forms.append(self._form)
        elif self._form is None or not (name or tag == "option") or "disabled" in has:
            return
        elif tag == "textarea":
            self._area = name
            self._form.typed.append(name)
            self._form.values[name] = ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if "selected" in has or self._select not in self._form.values:
                self._form.values[self._select] = has.get("value", "")
        elif tag in ("input", "button"):
            self._read_input(name, kind, has)

    def _read_input(self, name: str, kind: str, has: dict[str, str]) -> None:
        assert self._form is not None
        if kind in BUTTONS:
            self._form.buttons.append((name, has.get("value", "")))
        elif kind == "file":
            self._form.uploads.append(name)
        elif kind in ("checkbox", "radio"):
            if "checked" in has:
                self._form.values[name] = has.get("value", "on")
        else:
            self._form.values[name] = has.get("value", "")
            if kind in TYPED:
                self._form.typed.append(name)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "script":
            self._script = ""
        elif tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        if self._script and data.strip() and self._script != "application/json":
            self.wrong.append(f"<script>{data[:60]!r}")
        if self._area and self._form is not None:
            self._form.values[self._area] += data

    def handle_comment(self, data: str) -> None:
        if CANARY in data:
            self.wrong.append(f"<!--{data[:60]!r}")

    def handle_decl(self, decl: str) -> None:
        if decl.lower() != "doctype html":
            self.wrong.append(f"<!{decl[:60]!r}")

    def handle_pi(self, data: str) -> None:
        self.wrong.append(f"<?{data[:60]!r}")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"<![{data[:60]!r}")
