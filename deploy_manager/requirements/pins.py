"""Pins, and sets of them: written as a lock, compared with each other."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Pin:
    """One package at one version."""

    name: str
    """Normalised as https://packaging.python.org/en/latest/specifications/name-normalization/."""

    version: str
    extras: tuple[str, ...] = ()
    marker: str = ""
    hashes: tuple[str, ...] = ()
    """Like `sha256:…`; a file must match one of them."""

    direct: bool = True
    """Whether the project itself asks for it, not only another package."""

    url: str = ""
    """Where it comes from if that is no index: `git+https://…@<commit>`, or a file and its hash."""

    @property
    def is_commit(self) -> bool:
        """Whether it is a commit, whose version is unknown until it is built."""
        return self.url.startswith("git+")

    @property
    def requirement(self) -> str:
        """The pin as a requirement of its own (PEP 508), without its hashes."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        what = f" @ {self.url}" if self.url else f"=={self.version}"
        return f"{self.name}{extras}{what}{marker}"


@dataclass(frozen=True)
class PinChange:
    """A package whose version differs between two sets; blank: it is not in that set."""

    name: str
    before: str
    after: str


class Detail(StrEnum):
    """What may differ between pins of the same version."""

    FILE = "file"
    """None of its hashes, or not all of them, are the same. Without hashes nothing is known."""

    EXTRAS = "extras"
    MARKER = "marker"


@dataclass(frozen=True)
class PinDifference(PinChange):
    """A package whose pins differ in any way; with the same version before and after, in these."""

    details: tuple[Detail, ...] = ()


def lock_text(pins: Iterable[Pin]) -> str:
    """Return pins as a requirements file that is always the same for the same pins.

    A pin that the project does not ask for itself has a comment `# via`, as from pip-compile.
    """
    # Locks are named by the hash of this text: written otherwise, each would become another lock.
    lines = []
    for pin in sorted(pins, key=_order):
        hashes = (f"--hash={one}" for one in sorted(pin.hashes))
        lines.append(" \\\n    ".join([pin.requirement, *hashes]))
        lines += [] if pin.direct else ["    # via another package"]
    return "".join(f"{line}\n" for line in lines)


def lock_digest(text: str) -> str:
    """Return the name of a lock: the sha256 of its text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def compare_pins(before: Sequence[Pin], after: Sequence[Pin]) -> tuple[PinChange, ...]:
    """Return every package whose version differs, sorted by name."""
    old, new = _versions(before), _versions(after)
    return tuple(
        PinChange(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def compare_wholly(before: Sequence[Pin], after: Sequence[Pin]) -> tuple[PinDifference, ...]:
    """Return every package whose pins differ, also by a file, an extra or a marker, by name."""
    old, new = _by_name(before), _by_name(after)
    changes = {change.name: change for change in compare_pins(before, after)}
    versions = _versions(after)
    found = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name, []), new.get(name, [])
        details = tuple(_details(was, now)) if was and now else ()
        change = changes.get(name)
        if change is not None:
            found.append(PinDifference(name, change.before, change.after, details))
        elif details:
            found.append(PinDifference(name, versions[name], versions[name], details))
    return tuple(found)


def _by_name(pins: Iterable[Pin]) -> dict[str, list[Pin]]:
    found: dict[str, list[Pin]] = {}
    for pin in pins:
        found.setdefault(pin.name, []).append(pin)
    return found


def _details(was: Sequence[Pin], now: Sequence[Pin]) -> Iterator[Detail]:
    """Yield what differs besides the versions."""
    versions = {one.version for one in was} & {one.version for one in now}
    # Of another version the file is another one in any case.
    for version in versions:
        hashes = [
            {each for o in of if o.version == version for each in o.hashes} for of in (was, now)
        ]
        if all(hashes) and hashes[0] != hashes[1]:
            yield Detail.FILE
            break
    if {each for one in was for each in one.extras} != {each for one in now for each in one.extras}:
        yield Detail.EXTRAS
    places = [{(o.marker, o.version) for o in of if o.version in versions} for of in (was, now)]
    if {one.marker for one in was} != {one.marker for one in now} or places[0] != places[1]:
        yield Detail.MARKER


def same_place(pin: Pin, others: Sequence[Pin]) -> list[Pin]:
    """Return those of a package's pins that have the same marker; if none has, all of them."""
    return [one for one in others if one.marker == pin.marker] or list(others)


def _versions(pins: Sequence[Pin]) -> dict[str, str]:
    # A package may be pinned several times, with markers that exclude each other.
    versions: dict[str, list[str]] = {}
    for pin in sorted(pins, key=_order):
        versions.setdefault(pin.name, []).append(pin.version)
    return {name: ", ".join(dict.fromkeys(found)) for name, found in versions.items()}


def _order(pin: Pin) -> tuple[str, str, str]:
    return pin.name, pin.marker, pin.version
