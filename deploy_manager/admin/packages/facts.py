"""All that is stored about packages, as plain data, in the same number of queries for any site.

Tuples, not model objects: two hundred servers have thirty thousand packages.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from deploy_manager.drift import Pinned
from deploy_manager.messages import Message
from deploy_manager.models import (
    AuditedVersion,
    Environment,
    IndexedPackage,
    InstalledPackage,
    Placement,
)
from deploy_manager.packages.drift import pins_by_environment


class Place(NamedTuple):
    """A server's place in an environment, and when its packages were last asked for and seen.

    The last three fields choose the pins that are meant for it.
    """

    pk: int
    environment: int
    server: str
    seen_at: datetime | None
    tried_at: datetime | None
    problem: Message
    release: int | None
    activated_at: datetime | None
    implementation: str
    python: str
    platform: str

    @property
    def is_known(self) -> bool:
        """Whether the stored packages can be trusted to be what is installed."""
        return self.seen_at is not None and not self.problem

    @property
    def is_asked(self) -> bool:
        """Whether a question is open: it was or will be asked, and has not answered yet."""
        if self.tried_at is None:
            return True
        return not self.problem and (self.seen_at is None or self.tried_at > self.seen_at)


class Latest(NamedTuple):
    """The latest version in a package index; blank if it is not known."""

    version: str
    uploaded_at: datetime | None
    status: str
    problem: Message


class Audit(NamedTuple):
    """The known vulnerabilities of a version."""

    is_known: bool
    identifiers: tuple[str, ...]


UNHEARD = Latest("", None, "", Message())
UNAUDITED = Audit(is_known=False, identifiers=())


@dataclass(frozen=True)
class PackageFacts:
    """The packages of some environments: installed, pinned, latest and vulnerable."""

    places: tuple[Place, ...]
    """In the order of their environments, then of their servers."""

    installed: dict[int, dict[str, str]]
    """Versions by the id of a placement and the name of a package."""

    pinned: dict[int, dict[str, list[Pinned]]]
    """By the id of an environment and the name of a package.

    A package may have several pins whose markers exclude each other.
    """

    latest: dict[tuple[str, str], Latest]
    """By the URL of an index and the name of a package."""

    audits: dict[tuple[str, str], Audit]
    """By the name and the version of a package."""


def read_facts(environments: Collection[Environment]) -> PackageFacts:
    """Read the packages of these environments, in five queries."""
    ids = [environment.pk for environment in environments]
    return PackageFacts(
        places=_read_places(ids),
        installed=_read_installed(ids),
        pinned=pins_by_environment(environments),
        latest=_read_latest({environment.index_url for environment in environments}),
        audits=_read_audits(),
    )


def _read_places(environments: list[int]) -> tuple[Place, ...]:
    found = Placement.objects.filter(environment__in=environments)
    rows = found.order_by("order", "server__name", "pk").values_list(
        "pk",
        "environment",
        "server__name",
        "inventory_at",
        "inventory_tried_at",
        "inventory_problem",
        "active_release",
        "activated_at",
        "implementation",
        "python_version",
        "platform",
    )
    places = [Place(*row) for row in rows]
    return tuple(sorted(places, key=lambda place: environments.index(place.environment)))


def _read_installed(environments: list[int]) -> dict[int, dict[str, str]]:
    # Without the model's ordering, which would sort thirty thousand rows for nothing.
    found = InstalledPackage.objects.filter(placement__environment__in=environments).order_by()
    rows = found.values_list("placement", "name", "version")
    installed: dict[int, dict[str, str]] = defaultdict(dict)
    for placement, name, version in rows.iterator(chunk_size=10_000):
        installed[placement][name] = version
    return installed


def _read_latest(indexes: set[str]) -> dict[tuple[str, str], Latest]:
    found = IndexedPackage.objects.filter(index_url__in=indexes).order_by()
    rows = found.values_list(
        "index_url", "name", "latest", "latest_uploaded_at", "status", "problem"
    )
    return {(row[0], row[1]): Latest(*row[2:]) for row in rows}


def _read_audits() -> dict[tuple[str, str], Audit]:
    """Return the audit of every version that was ever to be checked, in one query."""
    rows = AuditedVersion.objects.order_by("advisories__identifier").values_list(
        "name", "version", "checked_at", "problem", "advisories__identifier"
    )
    audits: dict[tuple[str, str], Audit] = {}
    for name, version, checked_at, problem, identifier in rows:
        # One row for each advisory, so that a version may come several times.
        before = audits.get((name, version), UNAUDITED)
        identifiers = (*before.identifiers, identifier) if identifier else before.identifiers
        is_known = bool(identifiers) or (checked_at is not None and not problem)
        audits[name, version] = Audit(is_known, identifiers)
    return audits
