"""What a forge says, whichever it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

PENDING, SUCCESS, FAILURE = "pending", "success", "failure"
"""What a check of a CI may say of a commit."""

LONGEST_CONTEXT, LONGEST_DESCRIPTION, LONGEST_ADDRESS = 200, 300, 500
LONGEST_KEY = 100
FIRST_YEAR = 2000
_HASH_LENGTHS = (40, 64)
_HEADS = "refs/heads/"


class UnreadableError(Exception):
    """A body that is not what its forge documents; the message says what is wrong with it."""


@dataclass(frozen=True)
class Push:
    """A branch or tag came to another commit, or went."""

    ref: str
    """As git has it: refs/heads/main."""

    before: str
    after: str
    """Blank: it was deleted."""

    pusher: str = ""
    commits: frozenset[str] = frozenset()
    """Those that came with it, as far as the forge names them."""

    @property
    def branch(self) -> str:
        """Its branch; blank: it is a tag, or something else."""
        return self.ref.removeprefix(_HEADS) if self.ref.startswith(_HEADS) else ""

    @property
    def deleted(self) -> bool:
        return not self.after


@dataclass(frozen=True)
class Status:
    """What a check of a CI says of a commit."""

    commit: str
    context: str
    state: str
    url: str = ""
    description: str = ""
    at: datetime | None = None
    """When it was said; None: the forge does not tell."""


@dataclass(frozen=True)
class Event:
    """One delivery, which was genuine."""

    name: str
    said: Push | Status | None = None
    """None: nothing that concerns deployments."""


Headers = Mapping[str, str]


class Forge(Protocol):
    """A kind of forge. It never trusts a header that is not needed to verify the body."""

    def is_genuine(self, headers: Headers, body: bytes, secret: str) -> bool:
        """Whether the request was sent by somebody who has the secret; takes the same time."""

    def key_of(self, headers: Headers) -> str:
        """Return what tells this delivery from any other, and is the same when it is repeated."""

    def read(self, headers: Headers, body: bytes) -> Event:
        """Return what it says. Raises UnreadableError."""


@dataclass(frozen=True)
class Payload:
    """A JSON object of a forge, whose values may be anything."""

    data: Any = field(default_factory=dict)

    def part(self, name: str) -> "Payload":
        """Return an object in it; an empty one if there is none."""
        found = self.data.get(name) if isinstance(self.data, dict) else None
        return Payload(found if isinstance(found, dict) else {})

    def text(self, *names: str, longest: int = 200) -> str:
        """Return the first text of these names that is not blank, fit for a page and a row."""
        found = (self.data.get(name) if isinstance(self.data, dict) else None for name in names)
        text = next((each for each in found if isinstance(each, str) and each.strip()), "")
        return "".join(each if each.isprintable() else " " for each in text).strip()[:longest]

    def hash(self, name: str) -> str:
        """Return a commit; blank for zeros, which stand for none. Raises UnreadableError."""
        text = self.text(name)
        if not text or not text.strip("0"):
            return ""
        if len(text) not in _HASH_LENGTHS or set(text) - set("0123456789abcdef"):
            raise UnreadableError(f"“{name}” is not a commit")
        return text

    def address(self, *names: str) -> str:
        """Return an address of a page; blank if it is none that a browser should open."""
        text = self.text(*names, longest=LONGEST_ADDRESS + 1)
        is_fit = text.startswith(("https://", "http://")) and len(text) <= LONGEST_ADDRESS
        return text if is_fit and " " not in text else ""

    def time(self, *names: str) -> datetime | None:
        """Return the first time of these names; None if there is none that can be meant."""
        return next(filter(None, (_time_in(self.text(name)) for name in names)), None)

    def commits(self, name: str) -> frozenset[str]:
        """Return the hashes of a list of commits; what is none is left out."""
        found = self.data.get(name) if isinstance(self.data, dict) else None
        ids = (Payload(each).text("id") for each in found) if isinstance(found, list) else ()
        return frozenset(filter(None, ids))


def _time_in(text: str) -> datetime | None:
    """Return a time; None if it can't be read. GitLab writes it as 2026-08-12 15:23:28 UTC."""
    try:
        found = datetime.fromisoformat(text.removesuffix(" UTC"))
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # Programs in Go, like Gitea, write the year 1 where no time was set.
    return found if found.year >= FIRST_YEAR else None


def push_of(payload: Payload, pusher: str) -> Push:
    """Return a push, whose names are the same with all forges. Raises UnreadableError."""
    ref = payload.text("ref", longest=300)
    if not ref:
        raise UnreadableError("“ref” is missing")
    before, after = payload.hash("before"), payload.hash("after")
    return Push(ref, before, after, pusher, payload.commits("commits"))


def status_of(payload: Payload, commit: str, context: str, state: str, *times: str) -> Status:
    """Return a status; `times` are names that its time may have. Raises UnreadableError."""
    if not (hash_ := payload.hash(commit)):
        raise UnreadableError(f"“{commit}” is missing")
    if not context:
        raise UnreadableError("the check has no name")
    return Status(
        commit=hash_,
        context=context[:LONGEST_CONTEXT],
        state=state,
        url=payload.address("target_url", "html_url", "url"),
        description=payload.text("description", longest=LONGEST_DESCRIPTION),
        at=payload.time(*times),
    )
