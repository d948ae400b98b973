"""What a server's packages are measured by: the pins of its environment that are meant for it."""

from dataclasses import dataclass
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from deploy_manager.admin.packages.facts import PackageFacts, Place
from deploy_manager.drift import Wanted, reported_markers, wanted_of
from deploy_manager.models import Environment


@dataclass(frozen=True, eq=False)
class Expected:
    """What servers of one environment that are alike are measured by."""

    environment: Environment
    is_known: bool
    """Whether what the rows say is installed may be taken for what is there."""

    may_upgrade: bool
    """Whether who looks may deploy the environment."""

    wanted: dict[str, Wanted]
    """By the name of a package; empty where nothing is pinned."""


def make_expected(
    place: Place, environment: Environment, facts: PackageFacts, may_upgrade: bool
) -> Expected:
    """Return what a server is measured by."""
    markers = reported_markers(place.implementation, place.python, place.platform)
    wanted = wanted_of(facts.pinned.get(environment.pk, {}), markers)
    return Expected(environment, place.is_known, may_upgrade, wanted)


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
