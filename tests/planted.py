"""Secrets of ten kinds, and a search for them in what must not have them."""

import base64
import json
import random
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_rnd = random.Random(7)


def _letters(count: int, alphabet: str) -> str:
    return "".join(_rnd.choices(alphabet, k=count))


_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_KEY = "\n".join([*(_letters(64, _BASE64) for _ in range(25)), "x9Qa=="])
_PEM = f"-----BEGIN PRIVATE KEY-----\n{_KEY}\n-----END PRIVATE KEY-----"

PLANTED = {
    "SECRET_KEY": "django-insecure-7$q!(x9@#m&e%^*w+z=_l0p{k}~`",
    "MAIL_PASSWORD": """pw/9@h:4%zz'q"r""",
    "PRIVATE_KEY": _PEM + "\n",
    "API_URL": "https://tok3n-Vq8sLm2XrT@api.example/v1",
    "SERVICE_ACCOUNT": json.dumps(
        {"type": "service_account", "private_key_id": "5f1c9d0ab7", "private_key": _PEM}, indent=1
    ),
    "GREETING_KEY": "schlüssel-日本語-ключ-9d",
    "SHELL_KEY": "$(touch pwned)`id`;echo zq7",
    "BIG_KEY": _letters(40 * 1024, "abcdefghijklmnopqrstuvwxyz0123456789"),
    "PIN": "q8Z#",
    "BASE64_KEY": "c2VjcmV0IG9mIGFsbCBzZWNyZXRz/+8=",
}
"""By the name of the variable."""


def searched_for(value: str) -> Iterator[bytes]:
    """Yield what a secret would be found by, made apart from how the app masks it."""
    raw = value.strip().encode()
    yield raw
    for before in range(3):
        # Without the letters at both ends, which depend on what stands beside it.
        encoded = base64.b64encode(b"\0" * before + raw)[4 if before else 0 :][:-4]
        yield from (encoded, encoded.replace(b"+", b"-").replace(b"/", b"_"))
    text = value.strip()
    for encoded_text in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield encoded_text.encode()
        yield re.sub("%..", lambda found: found[0].lower(), encoded_text).encode()
    yield json.dumps(text)[1:-1].encode()
    yield repr(text)[1:-1].encode()


def hits(content: bytes, secrets: Iterable[tuple[str, str]] = tuple(PLANTED.items())) -> set[str]:
    """Return the names of the secrets that stand in a content, whole or broken over lines."""
    folded = re.sub(rb"[\r\n]|\\n", b"", content)
    found = set()
    for name, value in secrets:
        for form in searched_for(value):
            form = re.sub(rb"[\r\n]|\\n", b"", form)
            if len(form) >= 4 and (form in content or form in folded):
                found.add(name)
        lines = [line for line in value.splitlines() if len(line) >= 8 and line[:5] != "-----"]
        if len(lines) > 1 and any(line.encode() in content for line in lines):
            found.add(name)
    return found
