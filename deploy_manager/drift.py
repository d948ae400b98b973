"""What a Python should have installed, by the pins that are meant for it, and whether it has it.

One judge for all: for what servers told of themselves, and for an environment that is to be used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

SEEDS = frozenset({"pip", "setuptools", "wheel"})
"""What virtual environments are made with, and nobody has to pin."""

_SYSTEMS = {"linux": ("linux", "Linux"), "macosx": ("darwin", "Darwin")}
"""How markers call what sysconfig.get_platform() begins with: sys_platform, platform_system."""

Markers = tuple[tuple[str, str], ...]
"""The facts that environment markers are asked of (PEP 508): names and values."""


class Pinned(NamedTuple):
    """One version that is pinned, and for whom; a blank marker is for all."""

    version: str
    marker: str = ""


class Verdict(Enum):
    """How a package is beside what is pinned."""

    AS_PINNED = auto()
    MISSING = auto()
    OTHER = auto()
    EXTRA = auto()
    """Nobody pinned it."""


@dataclass(frozen=True)
class Wanted:
    """What a server should have of a package."""

    versions: tuple[str, ...]
    """Any of them will do: several where its Python, which chooses, is not known."""

    is_required: bool
    """Whether it is missed where it is not there."""


class Deviation(NamedTuple):
    """A package that is not as it is pinned; blank for what is not, or should not be, there."""

    name: str
    version: str
    wanted: str


def markers_of(implementation: str, python: str, platform: str) -> Markers:
    """Return the facts of a Python by what it says of itself; of Linux where no platform is told.

    `python` is its full version, `platform` what `sysconfig.get_platform()` says.
    """
    system, _dash, machine = platform.partition("-")
    sys_platform, platform_system = _SYSTEMS.get(system or "linux", (system, system.title()))
    return (
        ("implementation_name", implementation.lower()),
        ("implementation_version", python),
        ("os_name", "posix"),
        ("platform_machine", machine.rpartition("-")[2]),
        ("platform_python_implementation", implementation),
        ("platform_system", platform_system),
        ("python_full_version", python),
        ("python_version", ".".join(python.split(".")[:2])),
        ("sys_platform", sys_platform),
    )


def wanted_of(pins: Mapping[str, Iterable[Pinned]], markers: Markers | None) -> dict[str, Wanted]:
    """Return what pins ask of a Python, by the names of packages.

    `markers` are its facts; None: not known, so that no pin with a marker is ruled out or required.
    """
    chosen = ((name, _choose(found, markers)) for name, found in pins.items())
    return {name: wanted for name, wanted in chosen if wanted is not None}


def judge(name: str, version: str | None, wanted: Wanted | None) -> Verdict:
    """Say how an installed version is, None where there is none, beside what is wanted of it."""
    if version is None:
        return Verdict.MISSING if wanted and wanted.is_required else Verdict.AS_PINNED
    if wanted is None:
        return Verdict.AS_PINNED if name in SEEDS else Verdict.EXTRA
    fits = any(is_version(version, pinned) for pinned in wanted.versions)
    return Verdict.AS_PINNED if fits else Verdict.OTHER


def deviations_of(installed: Mapping[str, str], wanted: Mapping[str, Wanted]) -> list[Deviation]:
    """Return every package that is not as it is wanted, sorted by name."""
    found = []
    for name in sorted(installed.keys() | wanted.keys()):
        version, pinned = installed.get(name), wanted.get(name)
        if judge(name, version, pinned) is not Verdict.AS_PINNED:
            versions = " / ".join(pinned.versions) if pinned else ""
            found.append(Deviation(name, version or "", versions))
    return found


@lru_cache(maxsize=16384)
def is_version(version: str, pinned: str) -> bool:
    """Whether an installed version is what `==pinned` asks for, as 1.0.0 and 1.0+local are 1.0."""
    if version == pinned:
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(f"=={pinned}").contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False


def _choose(pins: Iterable[Pinned], markers: Markers | None) -> Wanted | None:
    """The pins whose markers fit; None where none does."""
    verdicts = [(pin.version, _fits(pin.marker, markers)) for pin in pins]
    versions = tuple(dict.fromkeys(version for version, fits in verdicts if fits is not False))
    return Wanted(versions, any(fits for _version, fits in verdicts)) if versions else None


def _fits(marker: str, markers: Markers | None) -> bool | None:
    """Whether a marker is true; None where nobody knows."""
    if not marker:
        return True
    return None if markers is None else _evaluate(marker, markers)


@lru_cache(maxsize=4096)
def _evaluate(marker: str, markers: Markers) -> bool | None:
    from packaging.markers import Marker, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate(dict(markers))
    except (ValueError, UndefinedEnvironmentName):
        # Rows are also written around forms, and servers say what they like of their Python.
        return None
