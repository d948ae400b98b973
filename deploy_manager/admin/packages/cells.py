"""One package on one server: its state as a colour, a sign and a word."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto
from functools import lru_cache
from typing import NamedTuple

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from packaging.version import InvalidVersion, Version

from deploy_manager.admin.addresses import start_upgrade_url
from deploy_manager.admin.badges import NONE
from deploy_manager.admin.packages.facts import UNAUDITED, UNHEARD, Audit, PackageFacts, Place
from deploy_manager.drift import Verdict, Wanted, judge, markers_of, wanted_of
from deploy_manager.models import Environment


@dataclass(frozen=True, eq=False)
class Expected:
    """What similar servers of one environment are compared with: the pins meant for them."""

    environment: Environment
    is_known: bool
    """Whether the stored packages can be trusted to be what is installed."""

    may_upgrade: bool
    """Whether the user may upgrade the packages of the environment."""

    wanted: dict[str, Wanted]
    """By the name of a package; empty if nothing is pinned."""


def make_expected(
    place: Place, environment: Environment, facts: PackageFacts, may_upgrade: bool
) -> Expected:
    """Return what a server is compared with."""
    # Without a Python version no marker can be evaluated: then all pins are meant for it.
    markers = (
        markers_of(place.implementation, place.python, place.platform) if place.python else None
    )
    wanted = wanted_of(facts.pinned.get(environment.pk, {}), markers)
    return Expected(environment, place.is_known, may_upgrade, wanted)


# Parsing a version is slow, and a large matrix compares the same few again and again.
@lru_cache(maxsize=16384)
def is_newer(latest: str, version: str) -> bool:
    """Return whether a version is newer; False if one of them can't be compared."""
    try:
        return Version(latest) > Version(version)
    except InvalidVersion:
        return False


@lru_cache(maxsize=16384)
def is_ordered(version: str) -> bool:
    """Return whether it is a valid version (PEP 440), so that it can be compared."""
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


class Matter(Flag):
    """What can be wrong with a package, the worst first."""

    VULNERABLE = auto()
    MISSING = auto()
    OTHER = auto()
    EXTRA = auto()
    UNKNOWN = auto()
    BEHIND = auto()
    UNAUDITED = auto()

    NOTHING = 0
    DRIFT = MISSING | OTHER | EXTRA

    @property
    def rank(self) -> int:
        """Sorts the worst first and `NOTHING` last: the lowest bit set is the worst."""
        return self.value & -self.value or Matter.UNAUDITED.value * 2


MATTERS = {
    Verdict.AS_PINNED: Matter.NOTHING,
    Verdict.MISSING: Matter.MISSING,
    Verdict.OTHER: Matter.OTHER,
    Verdict.EXTRA: Matter.EXTRA,
}
WRONG = Matter.VULNERABLE | Matter.DRIFT | Matter.UNKNOWN

NAMES = {
    Matter.VULNERABLE: ("vulnerable", gettext_lazy("vulnerable")),
    Matter.MISSING: ("missing", gettext_lazy("missing")),
    Matter.OTHER: ("other", gettext_lazy("not as pinned")),
    Matter.EXTRA: ("extra", gettext_lazy("not pinned")),
    Matter.UNKNOWN: ("unknown", gettext_lazy("unknown")),
    Matter.BEHIND: ("behind", gettext_lazy("newer available")),
    Matter.UNAUDITED: ("unaudited", gettext_lazy("not audited")),
}
"""The name in the style sheet, and the label."""

FINE = ("pinned", gettext_lazy("as pinned"))
BARE = ("bare", gettext_lazy("installed"))
"""The label in environments that pin nothing, where there is nothing to compare with."""


def legend() -> list[tuple[str, str]]:
    """Return the style and the label of everything that a cell can be."""
    return [(kind, str(word)) for kind, word in (FINE, *NAMES.values())]


class Cell(NamedTuple):
    html: SafeString
    matter: Matter
    is_wrong: bool
    """Whether anything is wrong, apart from a newer version or a missing audit."""


EMPTY = Cell(SafeString("<td></td>"), Matter.NOTHING, is_wrong=False)


@dataclass(frozen=True)
class _Found:
    """One package in one version (None: not installed), and what it is compared with."""

    name: str
    version: str | None
    expected: Expected
    wanted: Wanted | None
    latest: str
    audit: Audit

    @property
    def pinned(self) -> tuple[str, ...]:
        return self.wanted.versions if self.wanted else ()

    @property
    def verdict(self) -> Verdict:
        """How it differs from its pin; an environment without pins has no drift."""
        if not self.expected.wanted:
            return Verdict.AS_PINNED
        return judge(self.name, self.version, self.wanted)


class CellsOfPackage(dict[str | None, Cell]):
    """The cells of one package by its version, None if it is not installed; each made only once.

    Most servers have the same versions, so that few cells are made for many servers.
    """

    def __init__(self, name: str, expected: Expected, facts: PackageFacts) -> None:
        super().__init__()
        self._name = name
        self._expected = expected
        self._facts = facts

    def __missing__(self, version: str | None) -> Cell:
        name, expected = self._name, self._expected
        found = _Found(
            name,
            version,
            expected,
            expected.wanted.get(name),
            self._facts.latest.get((expected.environment.index_url, name), UNHEARD).version,
            self._facts.audits.get((name, version or ""), UNAUDITED),
        )
        cell = self[version] = _cell(found)
        return cell


def _cell(found: _Found) -> Cell:
    if found.version is None and found.verdict is not Verdict.MISSING:
        return EMPTY
    matter = _judge(found)
    kind, word = _label(matter, found)
    html = format_html(
        '<td data-is="{}" title="{}">{} <small>{}</small></td>',
        kind,
        " ".join(_explain(matter, found)),
        _version(matter, found),
        word,
    )
    return Cell(html, matter, is_wrong=bool(matter & WRONG))


def _judge(found: _Found) -> Matter:
    # What could not be looked at again may be right or wrong by now: neither is said.
    matter = MATTERS[found.verdict] if found.expected.is_known else Matter.UNKNOWN
    if found.version is None:
        return matter
    if found.audit.identifiers:
        matter |= Matter.VULNERABLE
    elif not found.audit.is_known:
        matter |= Matter.UNAUDITED
    if found.latest and is_newer(found.latest, found.version):
        matter |= Matter.BEHIND
    return matter


def _label(matter: Matter, found: _Found) -> tuple[str, str]:
    """Return the style of the worst state, and the labels of all that is wrong."""
    states = [each for each in NAMES if each & matter]
    if not states:
        kind, word = FINE if found.pinned else BARE
        return kind, str(word)
    wrong = [each for each in states if each & WRONG] or states[:1]
    return NAMES[states[0]][0], ", ".join(str(NAMES[each][1]) for each in wrong)


def _version(matter: Matter, found: _Found) -> SafeString | str:
    """Return the version, as a link to its upgrade if there is one and the user may deploy it."""
    version = found.version or NONE
    if found.version is None or not found.expected.may_upgrade:
        return version
    if not matter & (Matter.VULNERABLE | Matter.BEHIND):
        return version
    reach = "fix" if Matter.VULNERABLE in matter else "latest"
    address = start_upgrade_url([found.expected.environment.pk], [found.name], reach=reach)
    return format_html('<a href="{}">{}</a>', address, version)


def _explain(matter: Matter, found: _Found) -> Iterator[str]:
    """Yield the sentences of the tooltip."""
    if Matter.VULNERABLE in matter:
        yield _("Vulnerable: %(advisories)s.") % {"advisories": ", ".join(found.audit.identifiers)}
    if Matter.UNAUDITED in matter:
        yield _("It is not known whether it is vulnerable.")
    yield from _explain_drift(matter, found)
    if Matter.BEHIND in matter:
        yield _("%(version)s is available.") % {"version": found.latest}


def _explain_drift(matter: Matter, found: _Found) -> Iterator[str]:
    if Matter.UNKNOWN in matter:
        yield (
            _("As last seen; the server could not be asked since.")
            if found.version
            else _("The server has not been asked yet, or could not be asked.")
        )
    pinned = {"version": " / ".join(found.pinned)}
    if Matter.MISSING in matter:
        yield _("%(version)s is pinned, but not installed.") % pinned
    elif Matter.EXTRA in matter:
        yield _("It is not pinned.")
    elif Matter.OTHER in matter:
        yield _("%(version)s is pinned.") % pinned
    elif found.pinned and Matter.UNKNOWN not in matter:
        yield _("As pinned.")
