"""Put the pins that upgrades moved over a repository's pins, as long as those are behind."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from packaging.version import Version

from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.places import (
    common_places,
    cover,
    have_common_places,
    places_without,
)
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

    moved_with: frozenset[str] | None = None
    """The packages that the upgrade moved which removed this one; None: not known."""


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
    holding = {name for name, standing in own.items() if standing is Standing.HOLDS}
    standings = {
        package.name: own[package.name] or _standing_for_others(package, holding)
        for package in held
    }
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
    if not any(_beside(pin, listed) for pin in package.pins):
        return Standing.DROPPED if package.before else None
    ahead = any(_is_ahead(pin, _beside(pin, listed), package.before) for pin in package.pins)
    return Standing.HOLDS if ahead else Standing.CAUGHT_UP


def _standing_for_others(package: HeldPackage, holding: Collection[str]) -> Standing:
    """Return the standing of what was only added or removed for the sake of other packages.

    A removal holds as long as any package of its own upgrade does. What was added stays for any
    that holds: a later upgrade may need it, too, and has no override for what it found in place.
    """
    if not package.pins and package.moved_with is not None:
        holding = package.moved_with.intersection(holding)
    return Standing.HOLDS if holding else Standing.NOT_NEEDED


def _is_ahead(pin: Pin, listed: Sequence[Pin], before: Collection[str]) -> bool:
    """Whether the repository is behind, or still has the higher version that was moved from."""
    wanted, left = Version(pin.version), _read(before)
    # Who pins a commit chose what it contains: no version is ahead of that.
    there = [Version(one.version) for one in listed if not one.is_commit]
    return any(version < wanted or (version > wanted and version in left) for version in there)


def _read(versions: Collection[str]) -> set[Version]:
    """Return the valid versions, which compare however they are spelled: 2.0.0 equals 2.0."""
    return {parsed for version in versions if (parsed := parsed_version(version)) is not None}


def _beside(pin: Pin, others: Sequence[Pin]) -> list[Pin]:
    """Return those of a package's pins that are installed somewhere where this one is."""
    return [one for one in others if have_common_places(pin.marker, one.marker)]


def _held_over(listed: Sequence[Pin], package: HeldPackage) -> list[Pin]:
    """Return a package's pins: the override's versions with the repository's extras.

    The repository says in which places it is installed, and none of them is lost. The override's
    own markers stay only if they stand for just the same places.
    """
    before = package.before
    if not package.pins:
        return []
    if not any(_beside(pin, listed) for pin in package.pins):
        return [*listed, *package.pins]
    held, there = [pin.marker for pin in package.pins], [one.marker for one in listed]
    is_same = all(cover(held, one) for one in there) and all(cover(there, one) for one in held)
    # If the repository is ahead in some of its places only, they have to be kept apart.
    if is_same and all(_is_one_version(pin, listed, before) for pin in package.pins):
        return [_higher(pin, _beside(pin, listed), before) for pin in package.pins]
    return [pin for one in listed for pin in _held_in(one, package)]


def _is_one_version(pin: Pin, listed: Sequence[Pin], before: Collection[str]) -> bool:
    return len({_higher(pin, [one], before).version for one in _beside(pin, listed)}) < 2


def _held_in(one: Pin, package: HeldPackage) -> list[Pin]:
    """Return the pins to install where one of the repository's is."""
    known = _beside(one, package.pins)
    here = [_higher(pin, [one], package.before) for pin in known]
    if here and cover([pin.marker for pin in here], one.marker):
        return _kept_within(here, one)
    ahead = [pin for pin in known if _is_ahead(pin, [one], package.before)]
    if not ahead:
        return [one]
    # The override knows a part of this place only: better its version in the rest than nowhere.
    newest = _higher(_newest(ahead), [one], package.before)
    others = [pin for pin in here if pin.version != newest.version]
    rest = places_without(one.marker, [pin.marker for pin in others])
    if rest is None:
        return [replace(_newest(here), marker=one.marker)]
    return [*_kept_within(others, one), replace(newest, marker=rest)]


def _kept_within(pins: Sequence[Pin], one: Pin) -> list[Pin]:
    return [replace(pin, marker=common_places(pin.marker, one.marker)) for pin in pins]


def _newest(pins: Sequence[Pin]) -> Pin:
    return max(pins, key=lambda pin: Version(pin.version))


def _higher(pin: Pin, listed: Sequence[Pin], before: Collection[str]) -> Pin:
    if not listed:
        return pin
    newest = _newest(listed)
    chosen = pin if _is_ahead(pin, listed, before) else newest
    return replace(
        pin,
        version=chosen.version,
        hashes=chosen.hashes,
        extras=tuple(sorted({extra for one in listed for extra in one.extras})),
        direct=any(one.direct for one in listed),
    )
