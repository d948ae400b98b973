"""Declared secrets leave no text: a masker finds them in every form that programs print.

It is made of the secrets of a work, and applies where text leaves that work: log, message,
exception. What is opened only later is added by `learn`. Threads do not inherit it: they are begun
through `carried`.
"""

import base64
import html
import json
import re
import shlex
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import lru_cache, partial
from typing import Any, ParamSpec, Protocol, TypeVar
from urllib.parse import quote, quote_plus, unquote, urlsplit

P = ParamSpec("P")
T = TypeVar("T")

MASK = b"[masked]"

SHORTEST = 4
"""Characters. A shorter value stands in most texts by chance: it can't be masked."""

SHORTEST_PART = 8
"""Of a line of a secret, and of what is left of one that was cut off."""

_ANCHOR = 4
"""Bytes of a form that are searched for; the rest is compared only where those are found."""

_ANCHORED_WITHIN = 12
"""Bytes from a form's beginning: one that is cut off after them is found as well."""

_COMMON = (b"etaoinsrhl dcumfpgwybvk.xjqz/0123456789:-_,=\"'()[]", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ%")
"""Bytes by how often logs have them: an anchor begins with a rare one, so few places are tried."""

_NAMES_A_SECRET = re.compile(r"secret|token|passw|key|credential|auth", re.IGNORECASE)
"""What a name in JSON has that stands for a secret."""

_SECRET_VARIABLE = re.compile(
    r"(secret|token|password|passwd|passphrase|key|credentials?|dsn)\Z", re.IGNORECASE
)

# Of https the user as well, who may be a token; of others, as ssh://git@host, the password. It may
# hold / ? # and @, and ends at the last @ of the word; but what follows host:8000/ is a path.
_PASSWORD = rb"(?!\d{1,5}(?:[/?#\s]|\Z))(?:\S{0,500}@|[^/\s]+@)"
_LOGIN_IN_URL = re.compile(
    rb"(https?://)(?!\[)(?:[^/\s:@]*:%(password)s|[^/\s]+@)|(://(?!\[)[^/\s:@]*:)%(password)s"
    % {b"password": _PASSWORD}
)


def mask_logins(text: bytes) -> bytes:
    """Return a text without the passwords and tokens in its URLs."""
    # Most texts have no URL, and the pattern is slow beside a search for one.
    return _LOGIN_IN_URL.sub(rb"\1\2[masked]@", text) if b"://" in text else text


class Declared(Protocol):
    """A secret that was declared: sealing.Secret."""

    @property
    def value(self) -> str: ...


class Masker:
    """Finds secrets in text: as they are, encoded, quoted, wrapped over lines, or a line of them.

    Line ends are ignored while it searches, so that a secret is also found where a program broke
    its lines. It changes nothing once made: threads may share it.
    """

    def __init__(self, secrets: Iterable[Declared] = ()) -> None:
        self.secrets = frozenset(secrets)
        forms = {form for secret in self.secrets for form in forms_of(secret.value)}
        self._forms: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
        """By anchor: where in the form it is, and the form."""

        for form in forms:
            at = _anchor_in(form)
            self._forms[form[at : at + _ANCHOR]].append((at, form))
        lengths = range(_ANCHOR, _ANCHORED_WITHIN)
        self._beginnings = {form[:size] for form in forms for size in lengths if size < len(form)}
        self._longest = max(map(len, forms), default=0)
        pattern = _alternatives(sorted(self._forms)) if forms else b""
        self._anchors = re.compile(pattern, re.DOTALL) if forms else None

    def __bool__(self) -> bool:
        return self._anchors is not None

    def __repr__(self) -> str:
        return f"Masker({len(self.secrets)} secrets)"

    @property
    def most_held(self) -> int:
        """The most bytes that are held back for the end of a secret."""
        return 4 * self._longest

    def mask(self, text: bytes) -> bytes:
        """Return a whole text without secrets, nor the beginning of one at its end, cut off."""
        found, begins = self.find(text)
        folded_length = len(_folded(text)) if found or begins is not None else 0
        if begins is not None and folded_length - begins >= SHORTEST_PART:
            found = [*found, (begins, folded_length)]
        if rest := self._rest_of_one(text):
            found = [(0, rest), *found]
        return mask_logins(replaced(text, found) if found else text)

    def mask_text(self, text: str) -> str:
        """Return a message that may be stored and shown: in letters every database accepts."""
        # PostgreSQL accepts no NUL in text, and UTF-8 no lone surrogates.
        encoded = self.mask(text.encode(errors="replace"))
        return encoded.decode(errors="replace").replace("\0", "\ufffd")

    def find(self, text: bytes) -> tuple[list[tuple[int, int]], int | None]:
        """Return where secrets are, and where one begins that the text ends within, if one does.

        Positions count no line ends. They are in order, and do not overlap.
        """
        if self._anchors is None:
            return [], None
        folded = _folded(text)
        whole: list[tuple[int, int]] = []
        cut_off = [
            len(folded) - size
            for size in range(_ANCHOR, min(_ANCHORED_WITHIN, len(folded) + 1))
            if folded[-size:] in self._beginnings
        ]
        at = 0
        while hit := self._anchors.search(folded, at):
            at = hit.start() + 1
            for offset, form in self._forms[hit[0]]:
                start = hit.start() - offset
                if start < 0:
                    continue
                if folded.startswith(form, start):
                    whole.append((start, start + len(form)))
                elif len(folded) - start < len(form) and form.startswith(folded[start:]):
                    cut_off.append(start)
        return _merged(whole), min(cut_off, default=None)

    def _rest_of_one(self, text: bytes) -> int:
        """Return how much of a text's beginning is the end of a secret that was cut off."""
        if self._anchors is None:
            return 0
        folded = _folded(text[: self._longest + SHORTEST_PART])
        first, most = folded[:SHORTEST_PART], 0
        if len(first) < SHORTEST_PART:
            return 0
        for forms in self._forms.values():
            for _offset, form in forms:
                at = form.find(first, 1)
                while at > 0:
                    if folded.startswith(form[at:]):
                        most = max(most, len(form) - at)
                    at = form.find(first, at + 1)
        return most


def replaced(text: bytes, found: Iterable[tuple[int, int]]) -> bytes:
    """Return a text with the mask in these places; line ends in them stay."""
    # What a position in the folded text is in the text itself: later by the line ends before it.
    ends = [end.start() - count for count, end in enumerate(re.finditer(rb"[\r\n]", text))]
    pieces, at = [], 0
    for first, last in found:
        start = first + bisect_right(ends, first)
        end = last + bisect_right(ends, last - 1)
        pieces += [text[at:start], re.sub(rb"[^\r\n]+", MASK, text[start:end])]
        at = end
    return b"".join([*pieces, text[at:]])


def place_in(text: bytes, position: int) -> int:
    """Return where in a text a position is that counts no line ends."""
    ends = [end.start() - count for count, end in enumerate(re.finditer(rb"[\r\n]", text))]
    return position + bisect_right(ends, position)


def _merged(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return places in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _anchor_in(form: bytes) -> int:
    """Return where in a form its anchor begins: at the rarest byte, near its beginning."""
    last = min(len(form), _ANCHORED_WITHIN) - _ANCHOR
    common, less = _COMMON
    ranks = [2 if byte in common else byte in less for byte in form[: last + 1]]
    return ranks.index(min(ranks))


def _folded(text: bytes) -> bytes:
    return text.translate(None, b"\r\n")


def _alternatives(words: list[bytes]) -> bytes:
    """Return a pattern for any of these words of one length, with common beginnings once.

    `re` tries alternatives one by one: so it tries few of them at each place.
    """
    if len(words) == 1:
        return re.escape(words[0])
    by_first: dict[bytes, list[bytes]] = defaultdict(list)
    for word in words:
        by_first[word[:1]].append(word[1:])
    parts = [
        re.escape(first) + (_alternatives(rests) if rests[0] else b"")
        for first, rests in by_first.items()
    ]
    return parts[0] if len(parts) == 1 else b"(?:" + b"|".join(parts) + b")"


def forms_of(value: str) -> set[bytes]:
    """Return what a secret may look like in a text, without line ends; short ones are left out."""
    forms = {value, value.strip(), *_parts_of(value)}
    written = {form for text in forms for form in _written(text)}
    folded = {_folded(form) for form in written}
    return {form for form in folded if len(form) >= _ANCHOR}


def _parts_of(value: str) -> Iterator[str]:
    """Yield what is a secret on its own: lines, the password of a URL, keys in JSON."""
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        # What begins and ends a PEM file is the same in all of them.
        yield from (x for x in lines if len(x) >= SHORTEST_PART and not x.startswith("-----"))
    if "://" in value:
        yield from _passwords_of(value)
    if value.lstrip()[:1] in ("{", "["):
        try:
            yield from _secrets_in(json.loads(value))
        except (ValueError, RecursionError):
            return


def _passwords_of(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url.strip())
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    if len(password) >= SHORTEST:
        yield from (password, unquote(password))
    elif not password and parts.scheme in ("http", "https") and len(user) >= SHORTEST_PART:
        yield from (user, unquote(user))  # a token that stands in the user's place


def _secrets_in(data: Any, name: str = "") -> Iterator[str]:
    if isinstance(data, dict):
        for key, each in data.items():
            yield from _secrets_in(each, str(key))
    elif isinstance(data, list):
        for each in data:
            yield from _secrets_in(each, name)
    elif isinstance(data, str) and len(data) >= SHORTEST_PART and _NAMES_A_SECRET.search(name):
        yield data
        yield from (x for x in data.splitlines() if len(x) >= SHORTEST_PART and x[:5] != "-----")


def _written(text: str) -> Iterator[bytes]:
    """Yield how programs write a text: as it is, encoded, quoted."""
    raw = text.encode(errors="replace")
    yield raw
    yield from _in_base64(raw)
    for encoded in {quote(text, "", errors="replace"), quote(text, errors="replace")}:
        yield encoded.encode()
        yield _with_small_hex(encoded)
    plus = quote_plus(text, errors="replace")
    yield plus.encode()
    yield _with_small_hex(plus)
    for quoted in {
        *(json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)),
        json.dumps(text)[1:-1].replace("/", "\\/"),
        repr(text)[1:-1],
        text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n"),
        repr(raw)[2:-1],
        shlex.quote(text)[1:-1] if "'" in text else text,
        text.replace("'", "'\\''"),
        re.sub(r'(["$`\\])', r"\\\1", text),
        re.sub(r"([^\w@%+=:,./-])", r"\\\1", text),
        html.escape(text),
        html.escape(text, quote=False),
    }:
        yield quoted.encode(errors="replace")


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """Yield base64 of bytes, wherever among others they stand: the letters that are theirs alone.

    Three bytes are four letters: they may begin at any of three places.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        bits = 8 * (before + len(raw))
        own = encoded[-(-8 * before // 6) : bits // 6]
        yield own
        yield own.translate(bytes.maketrans(b"+/", b"-_"))


def _with_small_hex(encoded: str) -> bytes:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded).encode()


@lru_cache(maxsize=32)  # servers that are asked side by side are mostly of few environments
def _masker_of(secrets: frozenset[Declared]) -> Masker:
    return Masker(secrets)


class Work:
    """What masks the texts of one work, in all of its threads."""

    def __init__(self, masker: Masker, around: "Work | None" = None) -> None:
        self.masker = masker
        self._around = around
        self._lock = threading.Lock()

    def learn(self, secrets: frozenset[Declared]) -> None:
        """Mask these, too, from now on: here and in what is around it, but the outermost."""
        if self._around is None:
            return
        with self._lock:
            # Opened for each of many hosts, it is mostly known already.
            if not secrets <= self.masker.secrets:
                self.masker = _masker_of(self.masker.secrets | secrets)
        self._around.learn(secrets)


_NO_WORK = Work(Masker())
"""In force where nothing was declared: it learns nothing, since it would never forget it."""

_in_force: ContextVar[Work] = ContextVar("work", default=_NO_WORK)


def work() -> Work:
    """Return the work that this thread does: what is begun now asks it for its masker later."""
    return _in_force.get()


def masker() -> Masker:
    """Return the masker of the work that this thread does."""
    return _in_force.get().masker


@contextmanager
def masking(secrets: Iterable[Declared]) -> Iterator[None]:
    """Mask these secrets, too, in all that this thread writes down during a block."""
    around = _in_force.get()
    more = frozenset(each for each in secrets if each.value) - around.masker.secrets
    inner = _masker_of(around.masker.secrets | more) if more else around.masker
    token = _in_force.set(Work(inner, around))
    try:
        yield
    finally:
        _in_force.reset(token)


def learn(secret: Declared) -> None:
    """Mask a secret that was opened only now, until the works that need it have ended."""
    if len(secret.value.strip()) >= SHORTEST:
        _in_force.get().learn(frozenset({secret}))


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that another thread may run, and which masks there what is masked here.

    Each run has a context of its own, so that several threads may run it at the same time.
    """
    here = copy_context()

    def run(*args: P.args, **options: P.kwargs) -> T:
        return here.copy().run(partial(function, *args, **options))

    return run


def looks_secret(variables: Mapping[str, object]) -> list[str]:
    """Return the names of variables whose name or value says that they are secrets."""
    return [
        name
        for name, value in variables.items()
        if isinstance(value, str)
        and len(value) >= SHORTEST
        and (_SECRET_VARIABLE.search(name) or mask_logins(value.encode()) != value.encode())
    ]
