"""Ask package indexes for facts: the versions of a package, upload times, yanks, statuses."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import requests
from django.utils.translation import gettext_noop as _
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import Version
from pypi_simple import (
    DistributionPackage,
    NoSuchProjectError,
    ProjectPage,
    PyPISimple,
    UnsupportedRepoVersionError,
)

from deploy_manager.exceptions import ConfigurationError, IndexUnreachable, SecretUnreadable
from deploy_manager.logins import explain, login_of_index
from deploy_manager.messages import Message
from deploy_manager.requirements.index_client import login_masked, open_client
from deploy_manager.requirements.own_index import LONGEST_REASON, own_index_url
from deploy_manager.requirements.versions import parsed_version

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 15.0
"""Seconds; the second is for each piece of an answer."""

WORKERS = 8
ACTIVE = "active"


@dataclass(frozen=True)
class VersionFacts:
    """One version of a package on an index."""

    version: str
    uploaded_at: datetime | None
    """When its first file was uploaded; None: the index does not say."""

    yanked: bool
    """Whether all its files are yanked (PEP 592): only an exact pin still gets it."""

    yanked_reason: str
    requires_python: str
    has_wheel: bool

    def fits(self, python: str) -> bool:
        """Whether it supports a Python; 3.12 is 3.12.0. An invalid specifier forbids nothing."""
        try:
            return SpecifierSet(self.requires_python).contains(python, prereleases=True)
        except InvalidSpecifier:
            return True


@dataclass(frozen=True)
class PackageFacts:
    """A package on an index."""

    name: str
    versions: tuple[VersionFacts, ...]
    """Oldest first."""

    status: str = ACTIVE
    """As https://packaging.python.org/en/latest/specifications/project-status-markers/."""

    status_reason: str = ""

    def of(self, version: str) -> VersionFacts | None:
        """Return the facts of a version, however it is spelled."""
        wanted = parsed_version(version)
        return next((one for one in self.versions if Version(one.version) == wanted), None)

    def latest(
        self, python: str = "", before: datetime | None = None, prereleases: bool = False
    ) -> VersionFacts | None:
        """Return the newest version that is not yanked, supports `python` and is old enough.

        With `before`, a version without an upload time counts as too young.
        """
        return next(
            (
                one
                for one in reversed(self.versions)
                if not one.yanked
                and (prereleases or not Version(one.version).is_prerelease)
                and (not python or one.fits(python))
                and (not before or (one.uploaded_at is not None and one.uploaded_at < before))
            ),
            None,
        )


@dataclass(frozen=True)
class IndexProblem:
    """Why an index gave no facts of a package."""

    reason: Message | str


def look_up(name: str, index_url: str = "") -> PackageFacts:
    """Return what an index has of a package.

    `index_url` may contain a user and a password; blank means the index that the worker's own uv
    and pip use (UV_DEFAULT_INDEX, PIP_INDEX_URL or pip's configuration). Raises IndexUnreachable if
    it does not answer as an index, or does not have the package.
    """
    with open_index(index_url) as client:
        return _facts(project_page(client, name))


def look_up_many(
    names: Iterable[str], index_url: str = "", workers: int = WORKERS
) -> dict[str, PackageFacts | IndexProblem]:
    """Return what an index has of each package, or the problem; never raises."""
    wanted = list(dict.fromkeys(names))
    try:
        opened = open_index(index_url)
    except IndexUnreachable as error:
        return dict.fromkeys(wanted, IndexProblem(error.message))
    # In this order: the pool, whose threads use the client, ends before that is closed.
    with opened as client, ThreadPoolExecutor(workers) as pool:
        return dict(zip(wanted, pool.map(lambda name: _tried(client, name), wanted), strict=True))


def open_index(index_url: str = "") -> PyPISimple:
    """Return a client of an index, to be closed; blank means the worker's own index.

    Raises IndexUnreachable if it is unknown which that is, or if its login can't be opened here.
    """
    try:
        return open_client(index_url or own_index_url())
    except (ConfigurationError, SecretUnreadable) as error:
        login = login_of_index(index_url)
        raise IndexUnreachable(explain(login.name if login else "", error)) from None


def _tried(client: PyPISimple, name: str) -> PackageFacts | IndexProblem:
    try:
        return _facts(project_page(client, name))
    except IndexUnreachable as error:
        return IndexProblem(error.message)
    except Exception as error:
        # The border of a package: whatever happens with one, the others are looked up.
        with login_masked(client):
            return IndexProblem(Message(f"{type(error).__name__}: {error}").masked())


def project_page(client: PyPISimple, name: str) -> ProjectPage:
    """Return an index's page of a package. Raises IndexUnreachable."""
    try:
        return client.get_project_page(
            canonicalize_name(name, validate=True), timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
        )
    except InvalidName:
        raise IndexUnreachable(
            _("%(name)s is not a valid package name."), name=repr(name)
        ) from None
    except NoSuchProjectError:
        raise _unreachable(
            client, _("The package index %(index)s has no package %(name)s"), name=name
        ) from None
    except requests.RequestException as error:
        why = _("The package index %(index)s did not answer about %(name)s: %(error)s")
        raise _unreachable(client, why, name=name, error=error) from None
    except (ValueError, UnsupportedRepoVersionError) as error:
        why = _(
            "The package index %(index)s gave an answer about %(name)s that is not an index page:"
            " %(error)s"
        )
        raise _unreachable(client, why, name=name, error=error) from None


def _unreachable(client: PyPISimple, reason: str, **words: object) -> IndexUnreachable:
    words["index"] = client.endpoint
    in_one_line = {name: " ".join(str(word).split()) for name, word in words.items()}
    with login_masked(client):
        return IndexUnreachable(
            Message(reason, IndexUnreachable.code, **in_one_line).masked(LONGEST_REASON)
        )


def _facts(page: ProjectPage) -> PackageFacts:
    files: dict[Version, list[DistributionPackage]] = {}
    for file in page.packages:
        version = parsed_version(file.version or "")
        if version is not None:
            files.setdefault(version, []).append(file)
    return PackageFacts(
        name=canonicalize_name(page.project),
        versions=tuple(_version_facts(version, files[version]) for version in sorted(files)),
        status=page.status or ACTIVE,
        status_reason=page.status_reason or "",
    )


def _version_facts(version: Version, files: list[DistributionPackage]) -> VersionFacts:
    # Single files may be yanked: they count only if all of them are.
    offered = [one for one in files if not one.is_yanked] or files
    wheels = [one for one in offered if one.package_type == "wheel"]
    moments = [_in_utc(one.upload_time) for one in offered if one.upload_time is not None]
    # A wheel if there is one, as pip chooses.
    best = [*wheels, *offered][0]
    return VersionFacts(
        version=str(version),
        uploaded_at=min(moments, default=None),
        yanked=best.is_yanked,
        yanked_reason=(best.is_yanked and best.yanked_reason) or "",
        requires_python=best.requires_python or "",
        has_wheel=bool(wheels),
    )


def _in_utc(moment: datetime) -> datetime:
    # PEP 700 requires UTC, but some indexes leave out the zone.
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
