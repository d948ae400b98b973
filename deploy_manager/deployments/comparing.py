"""Comparing releases of one commit: by their pins, since their code is the same."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message, join
from deploy_manager.models import Release
from deploy_manager.requirements.pins import Pin, PinChange, compare_pins
from deploy_manager.requirements.reading import read_pins

MOST_NAMED = 5
"""Packages that a line names; the others are counted."""


@dataclass(frozen=True)
class Twin:
    """Another release of the same commit, and how it differs."""

    other: Release
    changes: tuple[PinChange, ...] = ()
    """From the other's pins to those of the release at hand."""

    has_same_pins: bool = False
    problem: Message = field(default_factory=Message)
    """Why the pins can't be compared; blank: they were."""

    def __str__(self) -> str:
        return str(self.describe())

    def describe(self) -> Message:
        """Return which release it is compared with, and how it differs."""
        return Message(
            _("same commit as %(release)s, %(difference)s"),
            release=self.other,
            difference=self.difference,
        )

    @property
    def difference(self) -> Message:
        """The difference in words."""
        if self.has_same_pins:
            return Message(_("same pins"))
        if self.problem:
            return Message(_("pins that can't be compared: %(why)s"), why=self.problem)
        if not self.changes:
            return Message(_("same versions, but other hashes, extras or markers"))
        named = join(map(_difference, self.changes[:MOST_NAMED]))
        if (more := len(self.changes) - MOST_NAMED) > 0:
            named = Message(_("%(names)s and %(more)d more"), names=named, more=more)
        return Message(_("pins differ: %(changes)s"), changes=named)


def _difference(change: PinChange) -> Message:
    """Return what a release has, and what the other one has instead."""
    words = {"name": change.name, "here": change.after, "there": change.before}
    if not change.after:
        return Message(_("no %(name)s instead of %(there)s"), **words)
    if not change.before:
        return Message(_("%(name)s %(here)s instead of none"), **words)
    return Message(_("%(name)s %(here)s instead of %(there)s"), **words)


def twins_of(releases: Iterable[Release]) -> dict[int, Twin]:
    """Return, by key, how each release that shares its commit differs from another one.

    The other is the one made before it with other pins, or for the first the one made after it.
    One query, however many there are.
    """
    shown = list(releases)
    found: dict[tuple[int, str], list[Release]] = defaultdict(list)
    commits = {each.commit for each in shown}
    among = {each.environment_id for each in shown}
    rows = Release.objects.filter(environment__in=among, commit__in=commits)
    for row in rows.select_related("lock").order_by("created_at", "pk"):
        found[row.environment_id, row.commit].append(row)
    alike = {each.pk: found[each.environment_id, each.commit] for each in shown}
    return {
        each.pk: compare(_to_compare(each, alike[each.pk]), each)
        for each in shown
        if len(alike[each.pk]) > 1
    }


def with_twins(releases: Iterable[Release]) -> list[Release]:
    """Return releases with their `twin`, for templates; None if no other has their commit."""
    shown = list(releases)
    twins = twins_of(shown)
    for each in shown:
        each.twin = twins.get(each.pk)  # type: ignore[attr-defined]
    return shown


def is_same(release: Release, live: Release | None) -> bool:
    """Whether a release has the commit and the pins of the one that serves."""
    return live is not None and (release.commit, release.lock_id) == (live.commit, live.lock_id)


def unlike_live(release: Release, live: Release) -> Message:
    """Return how the pins of a release differ from those that serve, and if it has their commit."""
    if is_same(release, live):
        return Message(_("same commit and pins as now"))
    difference = compare(live, release).difference
    if release.commit == live.commit:
        return Message(_("same commit as now, %(difference)s"), difference=difference)
    return Message(_("compared with now: %(difference)s"), difference=difference)


def with_difference(releases: Iterable[Release], live: Release | None) -> list[Release]:
    """Return releases with their `difference` from the one that serves, for templates."""
    shown = list(releases)
    for each in shown:
        each.difference = unlike_live(each, live) if live else ""  # type: ignore[attr-defined]
    return shown


def compare(other: Release, release: Release) -> Twin:
    """Return how a release differs from another of its commit."""
    if other.lock_id == release.lock_id:
        return Twin(other, has_same_pins=True)
    try:
        return Twin(other, compare_pins(_pins(other.lock.text), _pins(release.lock.text)))
    except PinError as error:
        return Twin(other, problem=error.message)


def _to_compare(release: Release, alike: Sequence[Release]) -> Release:
    """The nearest before it with other pins, else the nearest after it, else the nearest of all."""
    at = [each.pk for each in alike].index(release.pk)
    near = [*reversed(alike[:at]), *alike[at + 1 :]]
    return next((each for each in near if each.lock_id != release.lock_id), near[0])


@lru_cache(maxsize=64)  # a list of releases compares each lock file with two others
def _pins(lock: str) -> tuple[Pin, ...]:
    return tuple(read_pins(lock)) if lock else ()
