"""Compare what a Python has installed with what its pins say it should have.

This is the only judge: for the rows that servers' answers fill, and for a virtual environment that
is about to be used.
"""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

SEEDS = frozenset({"pip", "setuptools", "wheel"})
"""Packages that virtual environments are made with: they need no pin."""

# sysconfig.get_platform() begins with the key; markers call it sys_platform and platform_system.
_SYSTEMS = {"linux": ("linux", "Linux"), "macosx": ("darwin", "Darwin")}

Markers = tuple[tuple[str, str], ...]
"""The variables of environment markers (PEP 508) and their values for one Python."""


COMMIT = "0+g"
"""How the version of a pin begins that is a commit: its own is unknown until it is built."""


def version_of_commit(commit: str) -> str:
    """Return what stands for the version of a package that is pinned to a commit."""
    return f"{COMMIT}{commit}"


class Pinned(NamedTuple):
    """A pinned version, and the Pythons it is meant for; a blank marker means all."""

    version: str
    marker: str = ""


class Verdict(Enum):
    """How an installed package compares with its pin."""

    AS_PINNED = auto()
    MISSING = auto()
    OTHER = auto()
    EXTRA = auto()
    """It is not pinned."""


class Wanted(NamedTuple):
    """The versions of a package that a server should have."""

    versions: tuple[str, ...]
    """Any of them will do: there are several if the server's Python, which decides, is unknown."""

    is_required: bool
    """Whether the package counts as missing if it is not installed."""


class Deviation(NamedTuple):
    """A package that is out of sync with its pin."""

    name: str
    version: str
    """The installed version; blank: it is not installed."""

    wanted: str
    """The pinned version, or several separated by slashes; blank: it should not be installed."""


def reported_markers(implementation: str, python: str, platform: str) -> Markers | None:
    """Return the markers of a Python as its server reported it; None if it never did."""
    return markers_of(implementation, python, platform) if python else None


def markers_of(implementation: str, python: str, platform: str) -> Markers:
    """Return the markers of a Python from its own report; a blank platform means Linux.

    `python` is its full version, `platform` the value of `sysconfig.get_platform()`.
    """
    system, _dash, machine = platform.partition("-")
    sys_platform, platform_system = _SYSTEMS.get(system or "linux", (system, system.title()))
    return (
        ("implementation_name", implementation.lower()),
        ("implementation_version", python),
        ("os_name", "posix"),
        # macosx-14.0-arm64 has the system's version in between.
        ("platform_machine", machine.rpartition("-")[2]),
        ("platform_python_implementation", implementation),
        ("platform_system", platform_system),
        ("python_full_version", python),
        ("python_version", ".".join(python.split(".")[:2])),
        ("sys_platform", sys_platform),
    )


def wanted_of(pins: Mapping[str, Iterable[Pinned]], markers: Markers | None) -> dict[str, Wanted]:
    """Return what pins require of a Python, by the names of packages.

    If its `markers` are unknown (None), a pin with a marker is neither ruled out nor required.
    """
    wanted: dict[str, Wanted] = {}
    for name, pinned in pins.items():
        fits = [(pin.version, not pin.marker or _fits(pin.marker, markers)) for pin in pinned]
        versions = tuple(dict.fromkeys(version for version, fit in fits if fit is not False))
        if versions:
            wanted[name] = Wanted(versions, any(fit for _version, fit in fits))
    return wanted


def judge(name: str, version: str | None, wanted: Wanted | None) -> Verdict:
    """Compare an installed version, None if there is none, with what is wanted."""
    if version is None:
        return Verdict.MISSING if wanted and wanted.is_required else Verdict.AS_PINNED
    if wanted is None:
        return Verdict.AS_PINNED if name in SEEDS else Verdict.EXTRA
    fits = any(is_version(version, pinned) for pinned in wanted.versions)
    return Verdict.AS_PINNED if fits else Verdict.OTHER


def deviations_of(installed: Mapping[str, str], wanted: Mapping[str, Wanted]) -> list[Deviation]:
    """Return every package that is out of sync with what is wanted, sorted by name."""
    found = []
    for name in sorted(installed.keys() | wanted.keys()):
        version, pinned = installed.get(name), wanted.get(name)
        if judge(name, version, pinned) is not Verdict.AS_PINNED:
            versions = " / ".join(pinned.versions) if pinned else ""
            found.append(Deviation(name, version or "", versions))
    return found


@lru_cache(maxsize=16384)
def is_version(version: str, pinned: str) -> bool:
    """Whether `==pinned` accepts an installed version, as `==1.0` accepts 1.0.0 and 1.0+local.

    A pinned commit accepts every version that was built of it, as an inventory reports it.
    """
    if version == pinned:
        return True
    if pinned.startswith(COMMIT):
        return version.rpartition("+")[2].rpartition(".")[2] == pinned.removeprefix("0+")
    # Imported late: models load this file with Django, and most versions equal their pin.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    try:
        return SpecifierSet(f"=={pinned}").contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False


# A thousand servers ask the same few markers of the same few Pythons.
@lru_cache(maxsize=4096)
def _fits(marker: str, markers: Markers | None) -> bool | None:
    """Whether a marker is true; None if that can't be known."""
    if markers is None:
        return None
    from packaging.markers import Marker, UndefinedEnvironmentName

    try:
        return Marker(marker).evaluate(dict(markers))
    except (ValueError, UndefinedEnvironmentName):
        # Rows are also written around forms, and a server may report anything about its Python.
        return None
