"""What is known against versions of packages."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote

from packaging.version import InvalidVersion, Version

from deploy_manager.logs import mask_text

LONGEST_SUMMARY = 1000
"""Characters; some databases tell the whole pipeline."""

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
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
    """A page for people, blank where the identifier is none that has one."""


@dataclass(frozen=True)
class Advice:
    """What a check found out about one version; both can be, when only a part was understood."""

    advisories: tuple[KnownAdvisory, ...] = ()
    problem: str = ""
    """Why it is unknown whether there are (more) advisories; blank: the check was complete."""


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
        url=_PAGE + quote(identifier, safe="") if _IDENTIFIER.fullmatch(identifier) else "",
    )


def one_for_each(found: Iterable[KnownAdvisory]) -> tuple[KnownAdvisory, ...]:
    """Return one advisory for each vulnerability: those that share a name are the same."""
    told: list[KnownAdvisory] = []
    for one in sorted(found, key=lambda advisory: _rank(advisory.identifier)):
        same = [other for other in told if _names(one) & _names(other)]
        told = [other for other in told if other not in same]
        told.append(_merged([*same, one]))
    return tuple(sorted(told, key=lambda advisory: advisory.identifier))


def _merged(same: list[KnownAdvisory]) -> KnownAdvisory:
    names = {name for one in same for name in _names(one)}
    fixed_in = _oldest_first(version for one in same for version in one.fixed_in)
    best = same[0]
    return replace(best, aliases=tuple(sorted(names - {best.identifier})), fixed_in=fixed_in)


def _names(advisory: KnownAdvisory) -> set[str]:
    return {advisory.identifier, *advisory.aliases}


def _rank(name: str) -> tuple[int, str]:
    """The order in which pip-audit prefers names."""
    kinds = ("PYSEC", "CVE", "")
    return next(place for place, kind in enumerate(kinds) if name.startswith(kind)), name


def _oldest_first(versions: Iterable[str]) -> tuple[str, ...]:
    known = {version for text in versions if (version := parsed_version(text)) is not None}
    return tuple(str(version) for version in sorted(known))


def parsed_version(text: str) -> Version | None:
    """Return the version a text spells, or None."""
    try:
        return Version(text)
    except InvalidVersion:
        return None
