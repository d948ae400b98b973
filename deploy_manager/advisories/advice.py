"""What is known against versions of packages."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from django.utils.translation import gettext_noop as _

from deploy_manager.logs import mask_text
from deploy_manager.messages import Message, join
from deploy_manager.requirements.versions import parsed_version

Pair = tuple[str, str]
"""The name of a package, and its version."""

LONGEST_SUMMARY = 1000
"""Characters; some databases describe all of it at length."""

MOST_PROBLEMS_SHOWN = 3

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
"""What may stand in the address of a page or of a record."""

_PAGE = "https://osv.dev/vulnerability/"


@dataclass(frozen=True)
class KnownAdvisory:
    """A published vulnerability of a package."""

    identifier: str
    """The database's for Python packages (PYSEC-…) or else the CVE, where there is one."""

    aliases: tuple[str, ...]
    """Under which names the same vulnerability is known elsewhere, sorted."""

    package: str
    summary: str
    fixed_in: tuple[str, ...]
    """Versions, oldest first, each the first good one of its line; none: there is no fix yet."""

    url: str
    """A page for people; blank if the identifier cannot stand in an address."""


@dataclass(frozen=True)
class Advice:
    """What a check found out about one version; both can be, if only a part was understood."""

    advisories: tuple[KnownAdvisory, ...] = ()
    problem: Message | str = field(default_factory=Message)
    """Why it is unknown whether there are (more) advisories; blank: the check was complete."""

    knows_version: bool = True
    """False: the source did answer, but does not know this version. It has a problem."""

    stands_in: bool = False
    """A source that comes before this one gave no full answer, and may know of more."""


def known_advisory(
    package: str, names: Iterable[str], summary: str, fixed_in: Iterable[str]
) -> KnownAdvisory:
    """Return an advisory known under these names, of which the best is the identifier."""
    identifier, *aliases = sorted(set(names), key=_rank)
    return KnownAdvisory(
        identifier=identifier,
        aliases=tuple(sorted(aliases)),
        package=package,
        summary=mask_text(" ".join(summary.split()))[:LONGEST_SUMMARY],
        fixed_in=_oldest_first(fixed_in),
        url=_PAGE + quote(identifier, safe="") if IDENTIFIER.fullmatch(identifier) else "",
    )


def one_for_each(found: Iterable[KnownAdvisory]) -> tuple[KnownAdvisory, ...]:
    """Return one advisory for each vulnerability: those that share a name are the same."""
    # The best names first: of several that are the same, the first one stays.
    kept: list[KnownAdvisory] = []
    for one in sorted(found, key=lambda advisory: _rank(advisory.identifier)):
        same = [other for other in kept if _names(one) & _names(other)]
        kept = [other for other in kept if other not in same]
        kept.append(_merged([*same, one]))
    return tuple(sorted(kept, key=lambda advisory: advisory.identifier))


def _merged(same: list[KnownAdvisory]) -> KnownAdvisory:
    names = {name for one in same for name in _names(one)}
    fixed_in = _oldest_first(version for one in same for version in one.fixed_in)
    best = same[0]
    return replace(best, aliases=tuple(sorted(names - {best.identifier})), fixed_in=fixed_in)


def _names(advisory: KnownAdvisory) -> set[str]:
    return {advisory.identifier, *advisory.aliases}


def _rank(name: str) -> tuple[int, str]:
    """The order in which names are preferred: as pip-audit does, which people know."""
    kinds = ("PYSEC", "CVE", "")
    return next(place for place, kind in enumerate(kinds) if name.startswith(kind)), name


def _oldest_first(versions: Iterable[str]) -> tuple[str, ...]:
    known = {version for text in versions if (version := parsed_version(text)) is not None}
    return tuple(str(version) for version in sorted(known))


def joined(problems: list[Message]) -> Message:
    """Return several problems of one source as one that stays short; blank: there is none."""
    shown = problems[:MOST_PROBLEMS_SHOWN]
    if len(problems) > MOST_PROBLEMS_SHOWN:
        shown.append(Message(_("and %(count)d more"), count=len(problems) - MOST_PROBLEMS_SHOWN))
    return join(shown, "; ")
