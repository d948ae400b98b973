"""Where servers differ in what they have installed: from each other, or from the pins."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from deploy_manager.models import Environment, InstalledPackage, Placement, Requirement

SEEDS = frozenset({"pip", "setuptools", "wheel"})
"""What virtual environments are made with, and nobody has to pin."""


@dataclass(frozen=True)
class Drift:
    """A package that is not the same everywhere, or not as it is pinned."""

    environment: Environment
    name: str
    pinned: tuple[str, ...]
    """Several where markers choose; none: it is not pinned."""

    versions: Mapping[str, tuple[Placement, ...]]
    """Who has which; blank: who has it not."""


def drift(environments: Sequence[Environment]) -> list[Drift]:
    """Return what differs among servers that told what they have, or from what is pinned.

    What has no pins at all is compared among servers only. A pin with a marker may be missing:
    the marker may be meant for others.
    """
    placements = _seen(environments)
    installed: dict[int, dict[str, str]] = defaultdict(dict)
    rows = InstalledPackage.objects.filter(placement__environment__in=environments)
    for key, name, version in rows.values_list("placement", "name", "version"):
        installed[key][name] = version
    pins = _pins(environments)
    return [
        found
        for environment in environments
        for found in _of_one(
            environment, placements[environment.pk], installed, pins[environment.pk]
        )
    ]


def _seen(environments: Sequence[Environment]) -> dict[int, list[Placement]]:
    placements = Placement.objects.filter(
        environment__in=environments, inventory_at__isnull=False
    ).select_related("server")
    found: dict[int, list[Placement]] = defaultdict(list)
    for placement in placements:
        found[placement.environment_id].append(placement)
    return found


def _pins(environments: Sequence[Environment]) -> dict[int, dict[str, list[Requirement]]]:
    found: dict[int, dict[str, list[Requirement]]] = defaultdict(lambda: defaultdict(list))
    for pin in Requirement.objects.filter(environment__in=environments):
        found[pin.environment_id][pin.name].append(pin)
    return found


def _of_one(
    environment: Environment,
    placements: Sequence[Placement],
    installed: Mapping[int, Mapping[str, str]],
    pins: Mapping[str, list[Requirement]],
) -> list[Drift]:
    names = {name for placement in placements for name in installed.get(placement.pk, ())}
    found = []
    for name in sorted(names | (pins.keys() if placements else set())):
        versions: dict[str, tuple[Placement, ...]] = {}
        for placement in placements:
            version = installed.get(placement.pk, {}).get(name, "")
            versions[version] = (*versions.get(version, ()), placement)
        wanted = pins.get(name, [])
        if len(versions) > 1 or (pins and not _is_as_pinned(name, next(iter(versions)), wanted)):
            pinned = tuple(dict.fromkeys(pin.version for pin in wanted))
            found.append(Drift(environment, name, pinned, versions))
    return found


def _is_as_pinned(name: str, version: str, pins: Sequence[Requirement]) -> bool:
    if not pins:
        return name in SEEDS
    if not version:
        return all(pin.marker for pin in pins)
    return any(_is_version(version, pin.version) for pin in pins)


def _is_version(version: str, pinned: str) -> bool:
    """Whether it is what `==pinned` asks for, as 1.0+local is 1.0."""
    try:
        return SpecifierSet(f"=={pinned}").contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return version == pinned
