"""Secrets of twelve kinds, and a search for them in what must not have them."""

import base64
import html
import json
import random
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import quote, quote_plus

_rnd = random.Random(7)


def _letters(count: int, alphabet: str) -> str:
    return "".join(_rnd.choices(alphabet, k=count))


_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_KEY = "\n".join([*(_letters(64, _BASE64) for _ in range(25)), "x9Qa=="])
_PEM = f"-----BEGIN PRIVATE KEY-----\n{_KEY}\n-----END PRIVATE KEY-----"
_URL_PASSWORD = "w0rd%2Fof%40db-7Kq"

PLANTED = {
    "SECRET_KEY": "django-insecure-7$q!(x9@#m&e%^*w+z=_l0p{k}~`",
    "MAIL_PASSWORD": """pw/9@h:4%zz'q"r""",
    "PRIVATE_KEY": _PEM + "\n",
    "API_URL": "https://tok3n-Vq8sLm2XrT@api.example/v1",
    "BILLING_URL": f"postgres://billing:{_URL_PASSWORD}@db.example/billing",
    "SERVICE_ACCOUNT": json.dumps(
        {"type": "service_account", "private_key_id": "5f1c9d0ab7", "private_key": _PEM}, indent=1
    ),
    "GREETING_KEY": "schlüssel-日本語-ключ-9d",
    "SHELL_KEY": "$(touch pwned)`id`;echo zq7",
    "BIG_KEY": _letters(40 * 1024, "abcdefghijklmnopqrstuvwxyz0123456789"),
    "PIN": "q8Z#",
    "BASE64_KEY": "c2VjcmV0IG9mIGFsbCBzZWNyZXRz/+8=",
    "HEX_KEY": _letters(64, "0123456789abcdef"),
}
"""By the name of the variable."""

PARTS = {
    "PRIVATE_KEY": _KEY.splitlines()[:-1],
    "API_URL": ["tok3n-Vq8sLm2XrT"],
    "BILLING_URL": [_URL_PASSWORD, "w0rd/of@db-7Kq"],
    "SERVICE_ACCOUNT": [_PEM, "5f1c9d0ab7", *_KEY.splitlines()[:-1]],
}
"""What is a secret without the rest of it."""

_PIECE = 96
"""Bytes. Of a longer form three pieces are searched for: so a part of it is found as well."""


def searched_for(value: str | bytes) -> Iterator[bytes]:
    """Yield what a secret would be found by, made apart from how the app masks it."""
    raw = value if isinstance(value, bytes) else value.strip().encode()
    yield raw
    for before in range(3):
        # Without the letters at both ends, which depend on what stands beside it.
        encoded = base64.b64encode(b"\0" * before + raw)
        encoded = encoded[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
        yield from (encoded, encoded.replace(b"+", b"-").replace(b"/", b"_"))
    yield repr(raw)[2:-1].encode()
    if isinstance(value, bytes):
        return
    text = value.strip()
    for encoded_text in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield encoded_text.encode()
        yield re.sub("%..", lambda found: found[0].lower(), encoded_text).encode()
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(json.dumps(text))[3:-3].encode()
    yield repr(text)[1:-1].encode()
    yield shlex.quote(f" {text}")[2:-1].encode()
    yield html.escape(text).encode()


@cache
def needles(value: str | bytes) -> frozenset[bytes]:
    """Return the forms of a secret without ends of lines, long ones as pieces of them."""
    found = set()
    for form in map(_folded, searched_for(value)):
        starts = (0, (len(form) - _PIECE) // 2, len(form) - _PIECE)
        found |= {form} if len(form) <= 2 * _PIECE else {form[start:][:_PIECE] for start in starts}
    return frozenset(form for form in found if len(form) >= 4)


def _folded(content: bytes) -> bytes:
    """Return a content without ends of lines, also those that are written as JSON has them."""
    return content.translate(None, b"\r\n").replace(b"\\n", b"")


def hits(
    content: bytes, secrets: Iterable[tuple[str, str | bytes]] = tuple(PLANTED.items())
) -> set[str]:
    """Return the names of the secrets that stand in a content, whole or broken over lines."""
    folded = _folded(content)
    contents = (content, folded) if len(folded) < len(content) else (content,)
    found = set()
    for name, value in secrets:
        for each in (value, *PARTS.get(name, ())):
            if any(needle in one for needle in needles(each) for one in contents):
                found.add(name)
                break
    return found


@dataclass
class Search:
    """What was looked through for secrets, and where one was found."""

    secrets: Mapping[str, str | bytes] = field(default_factory=lambda: dict(PLANTED))
    places: int = 0
    size: int = 0
    found: list[str] = field(default_factory=list)
    """The place and the names: never the secret, which a test would print."""

    def look(self, place: str, content: bytes) -> bool:
        """Look through a content; return whether a secret stands in it."""
        self.places += 1
        self.size += len(content)
        names = hits(content, self.secrets.items())
        if names:
            self.found.append(f"{place}: {', '.join(sorted(names))}")
        return bool(names)

    def look_at_many(self, contents: Mapping[str, bytes]) -> None:
        """Look through many small contents: one by one only if there is something in them."""
        if hits(b"\0".join(contents.values()), self.secrets.items()):
            for place, content in contents.items():
                self.look(place, content)
        else:
            self.places += len(contents)
            self.size += sum(map(len, contents.values()))

    def __str__(self) -> str:
        return f"{len(self.secrets)} secrets, {self.places} places, {self.size:,} bytes"
