"""One package on one server: what is the matter with it, told by a colour, a sign and a word."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto
from typing import NamedTuple

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager.admin.packages.expected import Expected, is_newer
from deploy_manager.admin.packages.facts import UNAUDITED, UNHEARD, Audit, PackageFacts
from deploy_manager.admin.upgrades.link import upgrade_link
from deploy_manager.drift import Verdict, Wanted, judge

NONE = "\N{EN DASH}"
"""In the place of a version that is not there."""


class Matter(Flag):
    """What may be the matter, the worst first."""

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
        """The worst has the least; where nothing is the matter it has the most."""
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
"""How the style sheet and how people call it."""

FINE = ("pinned", gettext_lazy("as pinned"))
BARE = ("bare", gettext_lazy("installed"))
"""Where an environment pins nothing there is nothing to be alike."""


def legend() -> list[tuple[str, str]]:
    """How the style sheet and how people call everything that may be the matter."""
    return [(kind, str(word)) for kind, word in (FINE, *NAMES.values())]


class Cell(NamedTuple):
    html: SafeString
    matter: Matter
    is_wrong: bool
    """Whether more is the matter than that there is a newer version, or that nobody looked."""


EMPTY = Cell(SafeString("<td></td>"), Matter.NOTHING, is_wrong=False)


@dataclass(frozen=True)
class _Found:
    """One package in one version, or None, under one standard."""

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
        """Where nothing is pinned there is nothing to be unlike."""
        if not self.expected.wanted:
            return Verdict.AS_PINNED
        return judge(self.name, self.version, self.wanted)


class CellsOfPackage(dict[str | None, Cell]):
    """The cells of one package by its version, None where it is not seen; each made only once.

    Most servers are alike, so that few are made for many servers.
    """

    def __init__(self, name: str, expected: Expected, facts: PackageFacts) -> None:
        super().__init__()
        self._name = name
        self._expected = expected
        self._facts = facts

    def __missing__(self, version: str | None) -> Cell:
        cell = self[version] = _cell(self._find(version))
        return cell

    def _find(self, version: str | None) -> _Found:
        name, expected = self._name, self._expected
        return _Found(
            name,
            version,
            expected,
            expected.wanted.get(name),
            self._facts.latest.get((expected.environment.index_url, name), UNHEARD).version,
            self._facts.audits.get((name, version or ""), UNAUDITED),
        )


def _cell(found: _Found) -> Cell:
    if found.version is None and found.verdict is not Verdict.MISSING:
        return EMPTY
    matter = _judge(found)
    kind, word = _name(matter, found)
    html = format_html(
        '<td data-is="{}" title="{}">{} <small>{}</small></td>',
        kind,
        " ".join(_explain(matter, found)),
        _version(matter, found),
        word,
    )
    return Cell(html, matter, is_wrong=bool(matter & WRONG))


def _judge(found: _Found) -> Matter:
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


def _name(matter: Matter, found: _Found) -> tuple[str, str]:
    """The worst that is the matter, and every word for what is wrong."""
    told = [each for each in NAMES if each & matter]
    if not told:
        kind, word = FINE if found.pinned else BARE
        return kind, str(word)
    wrong = [each for each in told if each & WRONG] or told[:1]
    return NAMES[told[0]][0], ", ".join(str(NAMES[each][1]) for each in wrong)


def _version(matter: Matter, found: _Found) -> SafeString | str:
    """The version, which leads to its upgrade where there is one to be had."""
    version = found.version or NONE
    if found.version is None or not found.expected.may_upgrade:
        return version
    if not matter & (Matter.VULNERABLE | Matter.BEHIND):
        return version
    reach = "fix" if Matter.VULNERABLE in matter else "latest"
    address = upgrade_link(found.name, [found.expected.environment.pk], reach=reach)
    return format_html('<a href="{}">{}</a>', address, version)


def _explain(matter: Matter, found: _Found) -> Iterator[str]:
    """Sentences."""
    if Matter.VULNERABLE in matter:
        yield _("Vulnerable: %(advisories)s.") % {"advisories": ", ".join(found.audit.identifiers)}
    if Matter.UNAUDITED in matter:
        yield _("It is not known whether it is vulnerable.")
    yield from _explain_drift(matter, found)
    if Matter.BEHIND in matter:
        yield _("%(version)s is newer.") % {"version": found.latest}


def _explain_drift(matter: Matter, found: _Found) -> Iterator[str]:
    if Matter.UNKNOWN in matter:
        yield (
            _("Last seen so; since then the server could not be asked.")
            if found.version
            else _("The server was not asked yet, or could not be.")
        )
    pinned = {"version": " / ".join(found.pinned)}
    if Matter.MISSING in matter:
        yield _("%(version)s is pinned, but it is not installed.") % pinned
    elif Matter.EXTRA in matter:
        yield _("It is not among the pins.")
    elif Matter.OTHER in matter:
        yield _("%(version)s is pinned.") % pinned
    elif found.pinned and Matter.UNKNOWN not in matter:
        yield _("As pinned.")
