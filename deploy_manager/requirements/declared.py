"""Read the dependencies that an sdist declares, without running any of its code.

By PEP 643 and PEP 621, a field in the metadata of an sdist or in its pyproject.toml that is not
declared as dynamic is the same in every wheel built from it.
"""

import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Self

import requests
from django.utils.translation import gettext_noop as _
from packaging.metadata import parse_email
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pypi_simple import DigestMismatchError, DistributionPackage, PyPISimple

from deploy_manager.drift import is_version
from deploy_manager.exceptions import IndexUnreachable, PinError
from deploy_manager.requirements.index_facts import open_index, project_page
from deploy_manager.requirements.uv import Declared
from deploy_manager.requirements.versions import parsed_version

MOST_BYTES = 256 * 1024**2
"""The largest sdist that is read."""

MOST_UNPACKED = 1024**3
MOST_BYTES_OF_A_FILE = 4 * 1024**2
FIRST_STATIC = Version("2.2")
"""The metadata version from which on fields that are not dynamic are reliable (PEP 643)."""

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 15.0
"""Seconds."""


def sources_of(name: str, specifier: SpecifierSet, index_url: str) -> list[str]:
    """Return the versions that an index has as source and without any wheel, newest first.

    Raises PinError if the index does not answer.
    """
    with open_for_pins(index_url) as client:
        files = _files(client, name)
    wheels = {parsed_version(one.version or "") for one in files if one.package_type == "wheel"}
    found = {
        version
        for one in files
        if one.package_type == "sdist" and not one.is_yanked
        if (version := parsed_version(one.version or "")) is not None
    }
    return [str(one) for one in sorted(specifier.filter(found - wheels), reverse=True)]


def declared_by(name: str, version: str, hashes: Iterable[str], index_url: str) -> Declared | None:
    """Return what the sdist of a version declares; None if only its code could compute it.

    `hashes` are those that are pinned, if any. Raises PinError if there is no such file, or if it
    can't be fetched.
    """
    known = frozenset(hashes)
    with open_for_pins(index_url) as client, tempfile.TemporaryDirectory() as folder:
        for file in _files(client, name):
            if file.package_type != "sdist" or not is_version(file.version or "", version):
                continue
            listed = {f"{algorithm}:{digest}" for algorithm, digest in file.digests.items()}
            if known and listed.isdisjoint(known):
                continue
            return _read(_fetched(client, file, Path(folder)))
    raise PinError(
        _("The package index has no source of %(name)s %(version)s with a pinned hash."),
        name=name,
        version=version,
    )


def open_for_pins(index_url: str) -> PyPISimple:
    """Return a client of an index, as open_index does, but raise PinError."""
    try:
        return open_index(index_url)
    except IndexUnreachable as error:
        raise PinError(error.message) from None


def _files(client: PyPISimple, name: str) -> list[DistributionPackage]:
    try:
        return project_page(client, name).packages
    except IndexUnreachable as error:
        raise PinError(str(error)) from None


class _Bounded:
    """Follows a download, as the client's trackers of progress do, and ends one that is too large.

    An index need not say how large a file is, and a server may send more than it said.
    """

    def __init__(self, filename: str, size: int | None) -> None:
        self._filename = filename
        self._left = MOST_BYTES
        self._check(size or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, increment: int) -> None:
        """Count what has come. Raises PinError."""
        self._check(increment)
        self._left -= increment

    def _check(self, size: int) -> None:
        if size > self._left:
            raise PinError(
                _("%(filename)s is larger than %(most)s MiB."),
                filename=self._filename,
                most=MOST_BYTES // 1024**2,
            )


def _fetched(client: PyPISimple, file: DistributionPackage, folder: Path) -> Path:
    path = folder / "sdist"
    bounded = partial(_Bounded, file.filename)
    bounded(file.size)
    try:
        timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)
        # An index need not list hashes, and then the client would refuse to verify.
        client.download_package(
            file, path, verify=bool(file.digests), progress=bounded, timeout=timeout
        )
    except DigestMismatchError:
        raise PinError(
            _("%(filename)s does not have the hash that the index gives."), filename=file.filename
        ) from None
    except (requests.RequestException, OSError, ValueError):
        raise PinError(
            _("%(filename)s could not be fetched from the package index."), filename=file.filename
        ) from None
    return path


def _read(path: Path) -> Declared | None:
    # A stranger made the archive: nothing of it is written to disk, and a small file that unpacks
    # to endless ones is given up.
    texts: dict[str, bytes] = {}
    unpacked = 0
    try:
        # An sdist is a .tar.gz (PEP 625); of an old .zip nothing is known.
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                unpacked += member.size
                if unpacked > MOST_UNPACKED:
                    return None
                _top, _slash, inner = member.name.removeprefix("./").partition("/")
                is_wanted = inner in ("PKG-INFO", "pyproject.toml") and member.isfile()
                file = archive.extractfile(member) if is_wanted else None
                if file is not None and member.size <= MOST_BYTES_OF_A_FILE:
                    texts[inner] = file.read()
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return None
    try:
        return _of_metadata(texts.get("PKG-INFO", b"")) or _of_project(
            texts.get("pyproject.toml", b"")
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _of_metadata(text: bytes) -> Declared | None:
    raw, _unparsed = parse_email(text)
    version = parsed_version(raw.get("metadata_version", ""))
    dynamic = {one.lower() for one in raw.get("dynamic", [])}
    if version is None or version < FIRST_STATIC or "requires-dist" in dynamic:
        return None
    return _checked(
        raw.get("requires_dist", []), raw.get("requires_python", ""), raw.get("provides_extra", [])
    )


def _of_project(text: bytes) -> Declared | None:
    project: dict[str, Any] = tomllib.loads(text.decode()).get("project", {})
    dynamic = set(project.get("dynamic", []))
    if "name" not in project or {"dependencies", "optional-dependencies"} & dynamic:
        return None
    optional: dict[str, list[str]] = project.get("optional-dependencies", {})
    requires = [*project.get("dependencies", [])]
    for extra, lines in optional.items():
        for line in lines:
            one = Requirement(line)
            marker = f"({one.marker}) and " if one.marker else ""
            # Taken out of the text below, in which it and the extra have to hold both.
            one.marker = None
            requires.append(f"{one} ; {marker}extra == '{extra}'")
    return _checked(requires, project.get("requires-python", ""), [*optional])


def _checked(requires: list[str], requires_python: str, extras: list[str]) -> Declared | None:
    """Raises ValueError."""
    parsed = [Requirement(line) for line in requires]
    if any(one.url for one in parsed):
        return None  # uv would follow it, away from the index
    SpecifierSet(requires_python)
    return Declared(tuple(map(str, parsed)), requires_python, tuple(extras))
