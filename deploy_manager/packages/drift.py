"""Where servers differ in what they have installed: from the pins, or where nothing is pinned, from
each other. What differs is judged by `drift`, as everywhere.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from deploy_manager.drift import Pinned, Verdict, Wanted, judge, markers_of, wanted_of
from deploy_manager.models import Environment, InstalledPackage, Placement, Requirement


@dataclass(frozen=True)
class Drift:
    """A package that is not everywhere as it is pinned, or not the same."""

    environment: Environment
    name: str
    pinned: tuple[str, ...]
    """Several where markers choose; none: it is not pinned."""

    versions: Mapping[str, tuple[Placement, ...]]
    """Who has which; blank: who has it not."""

    deviations: tuple[Placement, ...]
    """Who has it otherwise than it is pinned; nobody where nothing is."""


@dataclass(frozen=True)
class _Seen:
    """What a server told that it has, and what it should have."""

    placement: Placement
    installed: Mapping[str, str]
    wanted: Mapping[str, Wanted]


def drift(environments: Sequence[Environment]) -> list[Drift]:
    """Return what differs on servers whose last answer told what they have."""
    pins = pins_by_environment(environments)
    seen = _seen(environments, pins)
    return [
        found
        for environment in environments
        for found in _of_one(environment, seen[environment.pk], pins.get(environment.pk, {}))
    ]


def pins_by_environment(
    environments: Collection[Environment],
) -> dict[int, dict[str, list[Pinned]]]:
    """Return what is listed on environments, by their ids and by the names of packages."""
    found: dict[int, dict[str, list[Pinned]]] = defaultdict(dict)
    rows = Requirement.objects.filter(environment__in=environments)
    for key, name, *pin in rows.values_list("environment", "name", "version", "marker"):
        found[key].setdefault(name, []).append(Pinned(*pin))
    return found


def wanted_on(placement: Placement, pins: Mapping[str, Sequence[Pinned]]) -> dict[str, Wanted]:
    """Return what pins ask of a server, by what it was last heard to say of its Python."""
    facts = placement.implementation, placement.python_version, placement.platform
    return wanted_of(pins, markers_of(*facts) if placement.python_version else None)


def _seen(
    environments: Sequence[Environment], pins: Mapping[int, Mapping[str, Sequence[Pinned]]]
) -> dict[int, list[_Seen]]:
    installed: dict[int, dict[str, str]] = defaultdict(dict)
    rows = InstalledPackage.objects.filter(placement__environment__in=environments)
    for key, name, version in rows.values_list("placement", "name", "version"):
        installed[key][name] = version
    placements = Placement.objects.filter(
        environment__in=environments, inventory_at__isnull=False, inventory_problem=""
    ).select_related("server")
    found: dict[int, list[_Seen]] = defaultdict(list)
    for each in placements:
        wanted = wanted_on(each, pins.get(each.environment_id, {}))
        found[each.environment_id].append(_Seen(each, installed.get(each.pk, {}), wanted))
    return found


def _of_one(
    environment: Environment, seen: Sequence[_Seen], pins: Mapping[str, Sequence[Pinned]]
) -> list[Drift]:
    names = {name for each in seen for name in each.installed.keys() | each.wanted.keys()}
    found = []
    for name in sorted(names):
        versions: dict[str, tuple[Placement, ...]] = {}
        for each in seen:
            version = each.installed.get(name, "")
            versions[version] = (*versions.get(version, ()), each.placement)
        deviations = _deviations(name, seen) if pins else ()
        if deviations or (not pins and len(versions) > 1):
            pinned = tuple(dict.fromkeys(pin.version for pin in pins.get(name, ())))
            found.append(Drift(environment, name, pinned, versions, deviations))
    return found


def _deviations(name: str, seen: Sequence[_Seen]) -> tuple[Placement, ...]:
    return tuple(
        each.placement
        for each in seen
        if judge(name, each.installed.get(name), each.wanted.get(name)) is not Verdict.AS_PINNED
    )
