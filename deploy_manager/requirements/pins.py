"""What a pin is, and sets of them: as a lock, and compared."""

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
    """Like `sha256:…`, any of which a file may have."""

    direct: bool = True
    """Asked for by the project itself, not by another package."""

    @property
    def requirement(self) -> str:
        """The pin as a requirement of its own (PEP 508), without its hashes."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{self.name}{extras}=={self.version}{marker}"


@dataclass(frozen=True)
class PinChange:
    """A package whose version differs; blank where it was, or will be, absent."""

    name: str
    before: str
    after: str


def lock_text(pins: Iterable[Pin]) -> str:
    """Return pins as a requirements file that is the same for the same pins.

    Which of them the project did not ask for itself stands behind them, as pip-compile notes it.
    """
    return "".join(f"{_line(pin)}\n" for pin in sorted(pins, key=_order))


def lock_digest(text: str) -> str:
    """Return the name of a lock: the sha256 of its text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def compare_pins(before: Sequence[Pin], after: Sequence[Pin]) -> tuple[PinChange, ...]:
    """Return every package whose version is another, sorted by name."""
    old, new = _versions(before), _versions(after)
    return tuple(
        PinChange(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _versions(pins: Sequence[Pin]) -> dict[str, str]:
    """A package may stand several times, with markers that exclude each other."""
    versions: dict[str, list[str]] = {}
    for pin in sorted(pins, key=_order):
        versions.setdefault(pin.name, []).append(pin.version)
    return {name: ", ".join(dict.fromkeys(found)) for name, found in versions.items()}


def _line(pin: Pin) -> str:
    line = " \\\n    ".join([pin.requirement, *(f"--hash={one}" for one in sorted(pin.hashes))])
    return line if pin.direct else f"{line}\n    # via another package"


def _order(pin: Pin) -> tuple[str, str, str]:
    return pin.name, pin.marker, pin.version
