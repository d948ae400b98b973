"""Replace in a set of pins what differs between two others, wherever it is still installed."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from packaging.version import Version

from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.places import common_places, cover, have_common_places


@dataclass(frozen=True)
class Replaced:
    """A set of pins after it, and what was changed by others before it could be replaced."""

    pins: tuple[Pin, ...]
    found: frozenset[str]
    """The packages of which something was replaced."""

    left: frozenset[str]
    """The packages of which something stays that neither of the other sets has."""


def replace_moved(
    pins: Sequence[Pin], old: Sequence[Pin], new: Sequence[Pin], names: Collection[str]
) -> Replaced:
    """Replace what these packages have from `old` by what they have in `new`.

    A pin is from `old` if that has its version somewhere where this one is installed: since then
    people may have written another marker, which stays. Any other version is theirs, and stays.
    """
    after: list[Pin] = []
    found, left = set(), set()
    for name in sorted(names):
        listed, was, now = (_of(each, name) for each in (pins, old, new))
        if _versions(listed) == _versions(was):
            after += now
            found.add(name)
            continue
        theirs = [pin for pin in listed if not _is_moved(pin, was, now)]
        ours = [pin for pin in listed if pin not in theirs]
        after += theirs
        after += [each for pin in ours for each in _in_place_of(pin, now)]
        if ours:
            found.add(name)
        if _versions(theirs) - _versions(now) or (now and not listed):
            left.add(name)
    return Replaced(with_pins_of(pins, after, names), frozenset(found), frozenset(left))


def with_pins_of(
    pins: Iterable[Pin], others: Iterable[Pin], names: Collection[str]
) -> tuple[Pin, ...]:
    """Return pins with those of some packages taken from others."""
    mixed = (
        *(pin for pin in pins if pin.name not in names),
        *(pin for pin in others if pin.name in names),
    )
    # pip takes hashes for all packages or for none.
    if not all(pin.hashes for pin in mixed):
        mixed = tuple(replace(pin, hashes=()) for pin in mixed)
    return mixed


def _of(pins: Iterable[Pin], name: str) -> list[Pin]:
    return [pin for pin in pins if pin.name == name]


def _versions(pins: Iterable[Pin]) -> set[tuple[str, str]]:
    return {(pin.marker, pin.version) for pin in pins}


def _beside(pin: Pin, others: Iterable[Pin]) -> list[Pin]:
    """Return those of a package's pins that are installed somewhere where this one is."""
    return [one for one in others if have_common_places(pin.marker, one.marker)]


def _is_moved(pin: Pin, old: Sequence[Pin], new: Sequence[Pin]) -> bool:
    if all(one.version != pin.version for one in _beside(pin, old)):
        return False
    return {one.version for one in _beside(pin, new)} != {pin.version}


def _in_place_of(pin: Pin, new: Sequence[Pin]) -> list[Pin]:
    """Return the new pins of a package for the places of one of its pins."""
    there = _beside(pin, new)
    if there and not cover([one.marker for one in there], pin.marker):
        # They know a part of these places only: better their version in the rest than nowhere.
        newest = max(there, key=lambda one: Version(one.version))
        return [replace(newest, marker=pin.marker)]
    return [replace(one, marker=common_places(one.marker, pin.marker)) for one in there]
