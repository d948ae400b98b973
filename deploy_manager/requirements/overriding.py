"""Put the pins that upgrades moved over a repository's pins, as long as those are behind."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from packaging.version import Version

from deploy_manager.requirements.pins import Pin, same_place
from deploy_manager.requirements.reading import check_whole
from deploy_manager.requirements.versions import parsed_version

THE_PINS = "the repository's pins with the overrides"


class Standing(StrEnum):
    """How an override compares with a repository's pins."""

    HOLDS = "holds"
    """The repository is behind: the override replaces its pin."""

    CAUGHT_UP = "caught_up"
    """The repository has the same or a newer version."""

    DROPPED = "dropped"
    """The repository listed the package, and no longer does."""

    NOT_NEEDED = "not_needed"
    """It was added or removed for the sake of another package, and no override holds any more."""


@dataclass(frozen=True)
class HeldPackage:
    """The override of one package."""

    name: str
    pins: tuple[Pin, ...]
    """One for each marker; empty: the upgrade removed the package."""

    before: tuple[str, ...]
    """The versions in the repository at that time; empty: it did not list the package."""


@dataclass(frozen=True)
class Overlaid:
    """The pins to install, and the standing of each override."""

    pins: tuple[Pin, ...]
    standings: Mapping[str, Standing]


def put_over(pins: Sequence[Pin], held: Sequence[HeldPackage]) -> Overlaid:
    """Return a repository's pins with the overrides that are ahead of them put over them.

    Nothing is resolved: a package without an override stays as it is. Raises PinError if the
    repository's pins have hashes and an override has none.
    """
    there: dict[str, list[Pin]] = defaultdict(list)
    for pin in pins:
        there[pin.name].append(pin)
    own = {package.name: _standing(there.get(package.name, ()), package) for package in held}
    # What was only added or removed for other packages holds as long as any of the others does.
    for_others = Standing.HOLDS if Standing.HOLDS in own.values() else Standing.NOT_NEEDED
    standings = {name: standing or for_others for name, standing in own.items()}
    for package in held:
        if standings[package.name] is Standing.HOLDS:
            there[package.name] = _held_over(there.get(package.name, []), package)
    after = tuple(pin for name in sorted(there) for pin in there[name])
    # pip takes hashes for all packages or for none.
    if not any(pin.hashes for pin in pins):
        after = tuple(replace(pin, hashes=()) for pin in after)
    check_whole(after, THE_PINS)
    return Overlaid(after, standings)


def _standing(listed: Sequence[Pin], package: HeldPackage) -> Standing | None:
    """Return a package's own standing; None if it depends on the others."""
    if not package.pins:
        versions = {Version(pin.version) for pin in listed}
        return None if versions and versions == _read(package.before) else Standing.CAUGHT_UP
    if not listed:
        return Standing.DROPPED if package.before else None
    ahead = any(_is_ahead(pin, same_place(pin, listed), package.before) for pin in package.pins)
    return Standing.HOLDS if ahead else Standing.CAUGHT_UP


def _is_ahead(pin: Pin, listed: Sequence[Pin], before: Collection[str]) -> bool:
    """Whether the repository is behind, or still has the higher version that was moved from."""
    wanted, left = Version(pin.version), _read(before)
    there = [Version(one.version) for one in listed]
    return any(version < wanted or (version > wanted and version in left) for version in there)


def _read(versions: Collection[str]) -> set[Version]:
    """Return the valid versions, which compare however they are spelled: 2.0.0 equals 2.0."""
    return {parsed for version in versions if (parsed := parsed_version(version)) is not None}


def _held_over(listed: Sequence[Pin], package: HeldPackage) -> list[Pin]:
    """Return a package's pins: the override's versions with the repository's extras."""
    held = {pin.marker: pin for pin in package.pins}
    if held and held.keys() <= {pin.marker for pin in listed}:
        return [
            _higher(held[pin.marker], [pin], package.before) if pin.marker in held else pin
            for pin in listed
        ]
    everywhere = held.get("")
    if everywhere and not all(_is_ahead(everywhere, [one], package.before) for one in listed):
        # The override applies everywhere, but for some marker the repository is ahead by now.
        return [
            _higher(replace(everywhere, marker=one.marker), [one], package.before) for one in listed
        ]
    return [_higher(pin, same_place(pin, listed), package.before) for pin in package.pins]


def _higher(pin: Pin, listed: Sequence[Pin], before: Collection[str]) -> Pin:
    if not listed:
        return pin
    newest = max(listed, key=lambda one: Version(one.version))
    chosen = pin if _is_ahead(pin, listed, before) else newest
    return replace(
        pin,
        version=chosen.version,
        hashes=chosen.hashes,
        extras=tuple(sorted({extra for one in listed for extra in one.extras})),
        direct=any(one.direct for one in listed),
    )
