"""What a server's packages are measured by: the pins of its environment that are meant for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from packaging.markers import Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from deploy_manager.admin.package_facts import PackageFacts, Pinned, Place
from deploy_manager.models import Environment

_SYSTEMS = {"linux": ("linux", "Linux"), "macosx": ("darwin", "Darwin")}
"""How markers call what sysconfig.get_platform() begins with: sys_platform, platform_system."""


@dataclass(frozen=True)
class Wanted:
    """What a server should have of a package."""

    versions: tuple[str, ...]
    """Any of them will do: several where its Python, which chooses, is not known."""

    is_required: bool
    """Whether it is missed where it is not there."""


@dataclass(frozen=True, eq=False)
class Standard:
    """What servers of one environment that are alike are measured by."""

    environment: Environment
    is_known: bool
    """Whether what the rows say is installed may be taken for what is there."""

    may_upgrade: bool
    """Whether who looks may deploy the environment."""

    wanted: dict[str, Wanted]
    """By the name of a package; empty where nothing is pinned."""


def make_standard(
    place: Place, environment: Environment, facts: PackageFacts, may_upgrade: bool
) -> Standard:
    """Return what a server is measured by."""
    wanted = {
        name: found
        for name, pins in facts.pinned.get(environment.pk, {}).items()
        if (found := _choose(pins, place)) is not None
    }
    return Standard(environment, place.is_known, may_upgrade, wanted)


def _choose(pins: Iterable[Pinned], place: Place) -> Wanted | None:
    """The pins whose markers fit; None where none does."""
    verdicts = [(pin.version, _fits(pin.marker, place)) for pin in pins]
    versions = tuple(version for version, fits in verdicts if fits is not False)
    return Wanted(versions, any(fits for _version, fits in verdicts)) if versions else None


def _fits(marker: str, place: Place) -> bool | None:
    """Whether a marker is true on a server; None where its Python is not known."""
    if not marker:
        return True
    if not place.python:
        return None
    return _evaluate(marker, place.implementation, place.python, place.platform)


@lru_cache(maxsize=4096)
def _evaluate(marker: str, implementation: str, python: str, platform: str) -> bool:
    system, _dash, machine = platform.partition("-")
    sys_platform, platform_system = _SYSTEMS.get(system, (system, system.title()))
    return Marker(marker).evaluate(
        {
            "implementation_name": implementation.lower(),
            "platform_python_implementation": implementation,
            "python_full_version": python,
            "python_version": ".".join(python.split(".")[:2]),
            "sys_platform": sys_platform,
            "platform_system": platform_system,
            "platform_machine": machine.rpartition("-")[2],
        }
    )


@lru_cache(maxsize=16384)
def is_version(version: str, pinned: str) -> bool:
    """Whether an installed version is what `==pinned` asks for, as 1.0.0 and 1.0+local are 1.0."""
    if version == pinned:
        return True
    try:
        return SpecifierSet(f"=={pinned}").contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return False


@lru_cache(maxsize=16384)
def is_newer(latest: str, version: str) -> bool:
    """Whether a version comes after another; False where one is no version that can be ordered."""
    try:
        return Version(latest) > Version(version)
    except InvalidVersion:
        return False


@lru_cache(maxsize=16384)
def is_ordered(version: str) -> bool:
    """Whether it is a version that comes before or after others."""
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True
