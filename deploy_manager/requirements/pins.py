"""Pins, and sets of them: written as a lock, compared with each other."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


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

    @property
    def requirement(self) -> str:
        """The pin as a requirement of its own (PEP 508), without its hashes."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{self.name}{extras}=={self.version}{marker}"


@dataclass(frozen=True)
class PinChange:
    """A package whose version differs between two sets; blank: it is not in that set."""

    name: str
    before: str
    after: str


def lock_text(pins: Iterable[Pin]) -> str:
    """Return pins as a requirements file that is always the same for the same pins.

    A pin that the project does not ask for itself has a comment `# via`, as from pip-compile.
    """
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
