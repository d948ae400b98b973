"""What an upgrade moved, put over the pins of a repository that does not have it yet."""

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
    """How what an upgrade moved stands to a repository's pins."""

    HOLDS = "holds"
    """The repository has less: it is put over what that says."""

    CAUGHT_UP = "caught_up"
    """The repository has as much or more."""

    DROPPED = "dropped"
    """The repository listed the package, and does not any more."""

    NOT_NEEDED = "not_needed"
    """It came, or went, for another package's sake, and no override of that holds any more."""


@dataclass(frozen=True)
class HeldPackage:
    """One package as an upgrade left it."""

    name: str
    pins: tuple[Pin, ...]
    """One for each marker; none: the upgrade removed the package."""

    before: tuple[str, ...]
    """The versions that the repository had then; none: it did not list the package."""


@dataclass(frozen=True)
class Overlaid:
    """The pins to install, and how each held package stands to those of the repository."""

    pins: tuple[Pin, ...]
    standings: Mapping[str, Standing]


def put_over(pins: Sequence[Pin], held: Sequence[HeldPackage]) -> Overlaid:
    """Return a repository's pins with what is held put over them, where they have less.

    Nothing is resolved: a package that is not held stays as it is. Raises PinError where the
    repository's pins have hashes and a held one has none.
    """
    there: dict[str, list[Pin]] = defaultdict(list)
    for pin in pins:
        there[pin.name].append(pin)
    standings = _standings(there, held)
    for package in held:
        if standings[package.name] is Standing.HOLDS:
            there[package.name] = _held_over(there.get(package.name, []), package)
    after = tuple(pin for name in sorted(there) for pin in there[name])
    if not any(pin.hashes for pin in pins):
        after = tuple(replace(pin, hashes=()) for pin in after)
    check_whole(after, THE_PINS)
    return Overlaid(after, standings)


def _standings(
    there: Mapping[str, Sequence[Pin]], held: Sequence[HeldPackage]
) -> dict[str, Standing]:
    known = {package.name: _standing(there.get(package.name, ()), package) for package in held}
    is_any_held = Standing.HOLDS in known.values()
    for_others = Standing.HOLDS if is_any_held else Standing.NOT_NEEDED
    return {name: standing or for_others for name, standing in known.items()}


def _standing(listed: Sequence[Pin], package: HeldPackage) -> Standing | None:
    """How one package stands; None: as those do for whose sake it came or went."""
    if not package.pins:
        versions = {Version(pin.version) for pin in listed}
        return None if versions and versions == _read(package.before) else Standing.CAUGHT_UP
    if not listed:
        return Standing.DROPPED if package.before else None
    ahead = any(_is_ahead(pin, same_place(pin, listed), package.before) for pin in package.pins)
    return Standing.HOLDS if ahead else Standing.CAUGHT_UP


def _is_ahead(pin: Pin, listed: Sequence[Pin], before: Collection[str]) -> bool:
    """Whether the repository has less, or still the higher version that was moved away from."""
    wanted, left = Version(pin.version), _read(before)
    there = [Version(one.version) for one in listed]
    return any(version < wanted or (version > wanted and version in left) for version in there)


def _read(versions: Collection[str]) -> set[Version]:
    """Versions as they compare, however they are spelled: 2.0.0 is 2.0. What is none is left."""
    return {parsed for version in versions if (parsed := parsed_version(version)) is not None}


def _held_over(listed: Sequence[Pin], package: HeldPackage) -> list[Pin]:
    """Return a package's pins: the version is the upgrade's, the extras are the repository's."""
    held = {pin.marker: pin for pin in package.pins}
    if held and held.keys() <= {pin.marker for pin in listed}:
        return [
            _higher(held[pin.marker], [pin], package.before) if pin.marker in held else pin
            for pin in listed
        ]
    everywhere = held.get("")
    if everywhere and not all(_is_ahead(everywhere, [one], package.before) for one in listed):
        # It counts everywhere, but somewhere the repository has more by now: that stays there.
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
