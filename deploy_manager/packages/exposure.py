"""Who is exposed to what: advisories and versions, met with what is installed and what is pinned.

Each question takes the same number of queries for one server and for a thousand.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Wanted
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from deploy_manager.exceptions import PinError
from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Environment,
    InstalledPackage,
    Placement,
    Requirement,
)
from deploy_manager.packages.inventory import NOT_DEPLOYED
from deploy_manager.requirements.fixing import versions_that_fix

PackageVersion = tuple[str, str]
"""A package's name and one version of it."""

_Key = tuple[int, str, str]
"""An environment's id, a package's name and a version of it."""


@dataclass(frozen=True)
class Exposure:
    """An environment that has a version something is known against."""

    environment: Environment
    placements: tuple[Placement, ...]
    """Where it is installed; none where it is only pinned."""

    name: str
    version: str
    pinned: bool
    advisories: tuple[Advisory, ...]
    fixed_in: str
    """The lowest version above that mends it all, as far as is known; blank: there is none yet."""

    @property
    def installed(self) -> bool:
        return bool(self.placements)


@dataclass(frozen=True)
class Unknown:
    """A version of which nobody knows whether anything is known against it."""

    environment: Environment
    placements: tuple[Placement, ...]
    name: str
    version: str
    problem: str
    """Why; blank where nobody has looked yet."""


@dataclass(frozen=True)
class Running:
    """A server, and the version that it was last seen to have."""

    placement: Placement
    version: str


@dataclass(frozen=True)
class WhoRuns:
    """Who has a package in one of the versions asked for."""

    found: tuple[Running, ...]
    unordered: tuple[Running, ...]
    """Whose version is none by today's rules: it can't be compared."""

    unseen: tuple[Placement, ...]
    """Which nobody could ask for its packages ever, or whose last answer failed."""


def exposures(advisory: Advisory) -> list[Exposure]:
    """Return the environments that an advisory is about, each version of a package apart."""
    return _exposures(_Uses(AuditedVersion.objects.filter(advisories=advisory)), {advisory.pk})


def vulnerable_packages(environment: Environment | None = None) -> list[Exposure]:
    """Return what an environment, or any, has installed or pinned that something is known of."""
    known = AuditedVersion.objects.filter(advisories__isnull=False).distinct()
    return _exposures(_Uses(known, environment), None)


def unknown_versions(environment: Environment | None = None) -> list[Unknown]:
    """Return what is installed or pinned and was not checked, or without a whole answer.

    Also where something is known against it: there may be more.
    """
    uses = _Uses(AuditedVersion.objects.checked(), environment, is_among=False)
    rows = AuditedVersion.objects.exclude(problem="")
    problems = {(row.name, row.version): row.problem for row in rows}
    return [
        Unknown(uses.environment(key), uses.placements(key), *key[1:], problems.get(key[1:], ""))
        for key in uses.keys
    ]


def who_runs(specifier: str, environments: Sequence[Environment]) -> WhoRuns:
    """Return who has a package in versions like `django<5.2.8`; pre-releases count as versions.

    Raises PinError as `parse_bounds` does.
    """
    wanted = parse_bounds(specifier)
    installed = InstalledPackage.objects.filter(
        name=canonicalize_name(wanted.name), placement__environment__in=environments
    )
    found, unordered = [], []
    for row in _with_servers(installed):
        running = Running(row.placement, row.version)
        version = _version(row.version)
        if version is None and wanted.specifier:
            unordered.append(running)
        elif version is None or wanted.specifier.contains(version, prereleases=True):
            found.append(running)
    return WhoRuns(tuple(found), tuple(unordered), tuple(unseen(environments)))


def audited_versions(names: Collection[str]) -> dict[PackageVersion, AuditedVersion]:
    """Return what was found out about every version of these packages, advisories with it."""
    rows = AuditedVersion.objects.filter(name__in=names).prefetch_related("advisories")
    return {(row.name, row.version): row for row in rows}


def unseen(environments: Collection[Environment] | Collection[int]) -> QuerySet[Placement]:
    """Return servers of which is not known what they have now; not those without a deployment."""
    placements = Placement.objects.filter(environment__in=environments)
    return (
        placements.exclude(inventory_at__isnull=False, inventory_problem="")
        .exclude(inventory_at=None, inventory_problem=NOT_DEPLOYED)
        .select_related("environment__project", "server")
        .order_by("environment__project__name", "environment__name", "order", "server__name")
    )


def lowest_fix(version: str, advisories: Iterable[Advisory]) -> str:
    """Return the lowest version above one that mends everything told, as far as is known."""
    own, fixed_in = _version(version), [each.first_fixed for each in advisories]
    fixes = versions_that_fix(fixed_in) if all(fixed_in) else ()
    return next((fix for fix in fixes if own is None or Version(fix) > own), "")


def parse_bounds(specifier: str) -> Wanted:
    """Return what `django<5.2.8` asks for. Raises PinError for what is no name with bounds."""
    try:
        wanted = Wanted(specifier)
    except InvalidRequirement as error:
        raise PinError(
            _("“%(asked)s” is no package with versions, like django<5.2.8: %(why)s")
            % {"asked": specifier, "why": str(error).partition("\n")[0]}
        ) from None
    if wanted.url or wanted.extras or wanted.marker:
        raise PinError(
            _("“%(asked)s”: only a name and versions can be asked for, like django<5.2.8.")
            % {"asked": specifier}
        )
    return wanted


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


class _Uses:
    """Where versions are installed and pinned: those that are among audited ones, or are not."""

    def __init__(
        self,
        audited: QuerySet[AuditedVersion],
        environment: Environment | None = None,
        *,
        is_among: bool = True,
    ) -> None:
        same = audited.filter(name=OuterRef("name"), version=OuterRef("version"))
        condition = Exists(same) if is_among else ~Exists(same)
        installed = InstalledPackage.objects.filter(condition)
        pinned = Requirement.objects.filter(condition).select_related("environment__project")
        if environment is not None:
            installed = installed.filter(placement__environment=environment)
            pinned = pinned.filter(environment=environment)
        self._environments: dict[int, Environment] = {}
        self._placements: dict[_Key, list[Placement]] = defaultdict(list)
        self._pinned: set[_Key] = set()
        self._read(_with_servers(installed), pinned)

    def _read(self, installed: Iterable[InstalledPackage], pinned: Iterable[Requirement]) -> None:
        for row in installed:
            key = row.placement.environment_id, row.name, row.version
            self._environments[key[0]] = row.placement.environment
            self._placements[key].append(row.placement)
        for pin in pinned:
            self._environments[pin.environment_id] = pin.environment
            self._pinned.add((pin.environment_id, pin.name, pin.version))

    @property
    def keys(self) -> list[_Key]:
        """Sorted by environment, name and version as text."""
        keys = self._placements.keys() | self._pinned
        return sorted(keys, key=lambda key: (str(self._environments[key[0]]), *key[1:]))

    def environment(self, key: _Key) -> Environment:
        return self._environments[key[0]]

    def placements(self, key: _Key) -> tuple[Placement, ...]:
        return tuple(self._placements.get(key, ()))

    def is_pinned(self, key: _Key) -> bool:
        return key in self._pinned


def _with_servers(installed: QuerySet[InstalledPackage]) -> QuerySet[InstalledPackage]:
    related = installed.select_related("placement__environment__project", "placement__server")
    return related.order_by(
        "placement__environment__project__name",
        "placement__environment__name",
        "placement__order",
        "placement__server__name",
        "name",
    )


def _exposures(uses: _Uses, only: set[int] | None) -> list[Exposure]:
    """Return exposures by all advisories about what is used, or by those with these ids only."""
    keys = uses.keys
    audited = audited_versions({name for _environment, name, _version in keys})
    found = []
    for key in keys:
        name, version = key[1:]
        row = audited.get((name, version))
        known = row.advisories.all() if row else ()
        told = [each for each in known if only is None or each.pk in only]
        fix = lowest_fix(version, told)
        placements, is_pinned = uses.placements(key), uses.is_pinned(key)
        found.append(
            Exposure(uses.environment(key), placements, name, version, is_pinned, tuple(told), fix)
        )
    return found
