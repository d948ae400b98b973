"""Advisories, met with the packages that are installed and pinned.

Each function takes the same number of queries for one server and for a thousand.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext_noop as _
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Wanted
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message
from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Environment,
    InstalledPackage,
    Placement,
    Requirement,
)
from deploy_manager.models.serving import serving_release
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.packages.targets import NOT_DEPLOYED
from deploy_manager.requirements.fixing import versions_that_fix
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.versions import parsed_version

PackageVersion = tuple[str, str]
"""A package's name and one version of it."""

_Key = tuple[int, str, str]
"""An environment's id, a package's name and a version of it."""


@dataclass(frozen=True)
class Exposure:
    """A vulnerable version of a package in an environment."""

    environment: Environment
    placements: tuple[Placement, ...]
    """Where it is installed; empty: it is only pinned."""

    name: str
    version: str
    pinned: bool
    advisories: tuple[Advisory, ...]
    fixed_in: str
    """The lowest higher version without a known advisory; blank: there is none yet."""

    @property
    def installed(self) -> bool:
        return bool(self.placements)


@dataclass(frozen=True)
class Unknown:
    """A version that could not be checked for advisories, or not completely."""

    environment: Environment
    placements: tuple[Placement, ...]
    name: str
    version: str
    problem: Message
    """Why; blank: it was not checked yet."""


@dataclass(frozen=True)
class Running:
    """A server, and the version it had at its last inventory."""

    placement: Placement
    version: str


@dataclass(frozen=True)
class WhoRuns:
    """The servers that have a package in one of the versions asked for."""

    found: tuple[Running, ...]
    unordered: tuple[Running, ...]
    """Servers whose version is not valid by PEP 440, so that it can't be compared."""

    unseen: tuple[Placement, ...]
    """Servers without an inventory, or whose last one failed."""


def exposures(advisory: Advisory) -> list[Exposure]:
    """Return what an advisory affects, one entry for each environment and version."""
    return _exposures(_Uses(AuditedVersion.objects.filter(advisories=advisory)), {advisory.pk})


def vulnerable_packages(environment: Environment | None = None) -> list[Exposure]:
    """Return the vulnerable versions installed or pinned in an environment, or in any."""
    known = AuditedVersion.objects.filter(advisories__isnull=False).distinct()
    return _exposures(_Uses(known, environment), None)


def unknown_versions(environment: Environment | None = None) -> list[Unknown]:
    """Return the versions in use that were not checked for advisories, or not completely.

    Those with a known advisory are among them, as there may be more.
    """
    uses = _Uses(AuditedVersion.objects.checked(), environment, is_among=False)
    rows = AuditedVersion.objects.exclude(problem="")
    problems = {(row.name, row.version): row.problem for row in rows}
    return [
        Unknown(
            uses.environment(key), uses.placements(key), *key[1:], problems.get(key[1:], Message())
        )
        for key in uses.keys
    ]


def who_runs(specifier: str, environments: Sequence[Environment]) -> WhoRuns:
    """Return the servers with versions like `django<5.2.8`, pre-releases included.

    Raises PinError as `parse_bounds` does.
    """
    wanted = parse_bounds(specifier)
    installed = InstalledPackage.objects.filter(
        name=canonicalize_name(wanted.name), placement__environment__in=environments
    )
    found, unordered = [], []
    # Compared here, as no database can order versions.
    for row in _with_servers(installed):
        running = Running(row.placement, row.version)
        version = parsed_version(row.version)
        if version is None and wanted.specifier:
            unordered.append(running)
        elif version is None or wanted.specifier.contains(version, prereleases=True):
            found.append(running)
    return WhoRuns(tuple(found), tuple(unordered), tuple(unseen(environments)))


def audited_versions(names: Collection[str]) -> dict[PackageVersion, AuditedVersion]:
    """Return every audited version of these packages, with its advisories."""
    # By name only: pairs of name and version would need a condition each.
    rows = AuditedVersion.objects.filter(name__in=names).prefetch_related("advisories")
    return {(row.name, row.version): row for row in rows}


def unseen(environments: Collection[Environment] | Collection[int]) -> QuerySet[Placement]:
    """Return the deployed servers whose installed packages are not known."""
    placements = Placement.objects.filter(environment__in=environments)
    return (
        placements.exclude(inventory_at__isnull=False, inventory_problem="")
        .exclude(inventory_at=None, inventory_problem=NOT_DEPLOYED)
        .select_related("environment__project", "server")
        .order_by("environment__project__name", "environment__name", "order", "server__name")
    )


def lowest_fix(version: str, advisories: Iterable[Advisory]) -> str:
    """Return the lowest higher version that fixes all these advisories; blank: none is known."""
    own, fixed_in = parsed_version(version), [each.first_fixed for each in advisories]
    # If one advisory has no fixed version yet, no version fixes all of them.
    fixes = versions_that_fix(fixed_in) if all(fixed_in) else ()
    return next((fix for fix in fixes if own is None or Version(fix) > own), "")


def parse_bounds(specifier: str) -> Wanted:
    """Parse a package's name and bounds, like `django<5.2.8`. Raises PinError."""
    try:
        wanted = Wanted(specifier)
    except InvalidRequirement as error:
        raise PinError(
            _("“%(asked)s” is not a package with versions, like django<5.2.8: %(why)s"),
            asked=specifier,
            why=str(error).partition("\n")[0],
        ) from None
    if wanted.url or wanted.extras or wanted.marker:
        raise PinError(
            _("“%(asked)s”: give only a name and versions, like django<5.2.8."), asked=specifier
        )
    return wanted


class _Uses:
    """Where versions are installed and pinned: those among some audited ones, or all others."""

    def __init__(
        self,
        audited: QuerySet[AuditedVersion],
        environment: Environment | None = None,
        *,
        is_among: bool = True,
    ) -> None:
        # In the database, as the versions may be more than a query can have parameters.
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
        for row in _with_servers(installed):
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
    """Return exposures to all advisories, or to those with the ids in `only`."""
    keys = uses.keys
    # The advisories of a version come from its name's rows: a query per version would not scale.
    audited = audited_versions({name for _environment, name, _version in keys})
    found = []
    for key in keys:
        name, version = key[1:]
        row = audited.get((name, version))
        known = row.advisories.all() if row else ()
        advisories = tuple(each for each in known if only is None or each.pk in only)
        found.append(
            Exposure(
                environment=uses.environment(key),
                placements=uses.placements(key),
                name=name,
                version=version,
                pinned=uses.is_pinned(key),
                advisories=advisories,
                fixed_in=lowest_fix(version, advisories),
            )
        )
    return found


class KnownPackages:
    """The packages of environments, or only those with these names: versions and advisories.

    Pinned are the lists of environments or, unlike in the rows that `_Uses` reads, the locks that
    serve: this is what an upgrade can change. Overrides are not put over these. After a rollback
    the vulnerable version is what serves, and has to be found.
    """

    def __init__(self, environments: Sequence[Environment], names: Iterable[str] = ()) -> None:
        self._environments = environments
        self._only = frozenset(names)

    @cached_property
    def pinned(self) -> set[PackageVersion]:
        """Raises PinError for a list of requirements that can't be read."""
        return {(pin.name, pin.version) for pin in self._pins if not pin.url}

    @cached_property
    def elsewhere(self) -> set[str]:
        """The packages that are pinned to a commit or a file, which only people move."""
        return {pin.name for pin in self._pins if pin.url}

    @cached_property
    def _pins(self) -> list[Pin]:
        pins = (pin for each in self._environments for pin in _listed_or_serving(each))
        return [pin for pin in pins if self._is_wanted(pin.name)]

    @cached_property
    def installed(self) -> set[PackageVersion]:
        seen = InstalledPackage.objects.filter(placement__environment__in=self._environments)
        return {each for each in seen.values_list("name", "version") if self._is_wanted(each[0])}

    @cached_property
    def names(self) -> set[str]:
        """The packages that can be upgraded, which are those that are pinned."""
        return {name for name, _version in self.pinned}

    @cached_property
    def unknown(self) -> set[PackageVersion]:
        """Versions that could not be checked for advisories, or not completely."""
        there = self.pinned | self.installed
        return {
            each
            for each in there
            if each not in self._audited or not self._audited[each].is_checked
        }

    def advisories_of(self, versions: Iterable[PackageVersion]) -> dict[str, list[Advisory]]:
        """Return the sorted advisories of vulnerable packages by name.

        `versions` are some of those that are pinned or installed.
        """
        found: dict[str, dict[int, Advisory]] = defaultdict(dict)
        for name, version in sorted(versions):
            audited = self._audited.get((name, version))
            for each in audited.advisories.all() if audited else ():
                found[name][each.pk] = each
        return {name: sorted(each.values(), key=str) for name, each in found.items()}

    @cached_property
    def _audited(self) -> dict[PackageVersion, AuditedVersion]:
        there = self.pinned | self.installed
        rows = audited_versions({name for name, _version in there})
        return {version: rows[version] for version in there & rows.keys()}

    def _is_wanted(self, name: str) -> bool:
        return not self._only or name in self._only


def _listed_or_serving(environment: Environment) -> Sequence[Pin]:
    is_listed = environment.pins_from == Environment.PinsFrom.ROWS
    if is_listed and (listed := checked_pins_of(environment)):
        return listed
    release = serving_release(environment)
    return read_pins(release.lock.text) if release else ()
