"""Packages that servers have installed out of sync with the pins, or with each other.

A package is compared with the pins of its environment; if it has none, the servers are compared
with each other. `deploy_manager.drift` judges.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from deploy_manager.drift import Pinned, Wanted, deviations_of, reported_markers, wanted_of
from deploy_manager.models import Environment, InstalledPackage, Placement, Requirement


@dataclass(frozen=True)
class Drift:
    """A package that is not installed everywhere as it is pinned, or not in the same version."""

    environment: Environment
    name: str
    pinned: tuple[str, ...]
    """The pinned versions, several if they have markers; empty: it is not pinned."""

    versions: Mapping[str, tuple[Placement, ...]]
    """Placements by the version that they have installed; blank: not installed."""

    deviations: tuple[Placement, ...]
    """Placements that are out of sync with the pins; empty if the environment pins nothing."""


@dataclass(frozen=True)
class _Seen:
    """A placement, what its server reported as installed, and what is out of sync there."""

    placement: Placement
    installed: Mapping[str, str]
    wanted: Mapping[str, Wanted]
    deviating: frozenset[str]


def drift(environments: Sequence[Environment]) -> list[Drift]:
    """Return what differs on those servers whose last inventory succeeded."""
    pins = pins_by_environment(environments)
    seen: dict[int, list[_Seen]] = defaultdict(list)
    installed: dict[int, dict[str, str]] = defaultdict(dict)
    rows = InstalledPackage.objects.filter(placement__environment__in=environments)
    for key, name, version in rows.values_list("placement", "name", "version"):
        installed[key][name] = version
    placements = Placement.objects.filter(
        environment__in=environments, inventory_at__isnull=False, inventory_problem=""
    ).select_related("server")
    for each in placements:
        has, wanted = installed[each.pk], wanted_on(each, pins.get(each.environment_id, {}))
        deviating = frozenset(one.name for one in deviations_of(has, wanted))
        seen[each.environment_id].append(_Seen(each, has, wanted, deviating))
    return [
        found
        for environment in environments
        for found in _drift_of(environment, seen[environment.pk], pins.get(environment.pk, {}))
    ]


def pins_by_environment(
    environments: Collection[Environment],
) -> dict[int, dict[str, list[Pinned]]]:
    """Return the pins listed on environments, by their ids and by the names of packages."""
    found: dict[int, dict[str, list[Pinned]]] = defaultdict(dict)
    rows = Requirement.objects.filter(environment__in=environments)
    for key, name, *pin in rows.values_list("environment", "name", "version", "marker"):
        found[key].setdefault(name, []).append(Pinned(*pin))
    return found


def wanted_on(placement: Placement, pins: Mapping[str, Sequence[Pinned]]) -> dict[str, Wanted]:
    """Return what pins require of a server, by what it last reported about its Python."""
    facts = placement.implementation, placement.python_version, placement.platform
    return wanted_of(pins, reported_markers(*facts))


def _drift_of(
    environment: Environment, seen: Sequence[_Seen], pins: Mapping[str, Sequence[Pinned]]
) -> list[Drift]:
    names = {name for each in seen for name in each.installed.keys() | each.wanted.keys()}
    found = []
    for name in sorted(names):
        versions: dict[str, tuple[Placement, ...]] = {}
        for each in seen:
            version = each.installed.get(name, "")
            versions[version] = (*versions.get(version, ()), each.placement)
        # Without any pins each package would deviate: then servers are compared with each other.
        deviations = tuple(each.placement for each in seen if pins and name in each.deviating)
        if deviations or (not pins and len(versions) > 1):
            pinned = tuple(dict.fromkeys(pin.version for pin in pins.get(name, ())))
            found.append(Drift(environment, name, pinned, versions, deviations))
    return found
