"""Export pins as files with which other tools install exactly the same."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import tomli_w
from django.utils.translation import gettext_noop as _
from packaging.markers import Marker
from packaging.pylock import (
    Package,
    PackageArchive,
    PackageSdist,
    PackageVcs,
    PackageWheel,
    Pylock,
)
from packaging.utils import canonicalize_name
from packaging.version import Version
from pypi_simple import DistributionPackage, PyPISimple

from deploy_manager.drift import is_version
from deploy_manager.exceptions import IndexUnreachable, PinError
from deploy_manager.requirements.declared import open_for_pins
from deploy_manager.requirements.index_facts import WORKERS, project_page
from deploy_manager.requirements.lock_files import OWN_TABLE
from deploy_manager.requirements.pins import Pin, lock_text

F = TypeVar("F", PackageWheel, PackageSdist)


def export_requirements(pins: Sequence[Pin]) -> str:
    """Return pins as a requirements file for `pip install --no-deps -r`, with their hashes."""
    hashes = " --require-hashes" if all(pin.hashes for pin in pins) else ""
    # Beside a commit, which has none, pip takes no hashes for other packages; uv does.
    is_mixed = any(pin.is_commit for pin in pins) and any(pin.hashes for pin in pins)
    program = "uv pip" if is_mixed else "pip"
    return f"# {program} install --no-deps{hashes} -r <this file>\n{lock_text(pins)}"


def export_pylock(pins: Sequence[Pin], index_url: str = "") -> str:
    """Return pins as a `pylock.toml` (PEP 751), with the files an index has for them.

    Only files with a pinned hash are listed. Raises PinError if the index does not have them, and
    for pins without hashes, which PEP 751 requires.
    """
    if bare := [pin.name for pin in pins if not pin.hashes and not pin.url]:
        raise PinError(
            _(
                "%(bare)s: a pylock.toml needs hashes. Import the pins with --lock, or "
                "export them as a requirements file."
            ),
            bare=", ".join(bare[:5]),
        )
    with open_for_pins(index_url) as client, ThreadPoolExecutor(WORKERS) as pool:
        packages = list(pool.map(partial(_package, client), pins))
    made = Pylock(lock_version=Version("1.0"), created_by="deploy-manager", packages=packages)
    return tomli_w.dumps(dict(made.to_dict()))


def _package(client: PyPISimple, pin: Pin) -> Package:
    """Return a pin with the files it allows. Raises PinError."""
    if pin.url:
        return _direct(pin)
    try:
        listed = project_page(client, pin.name).packages
    except IndexUnreachable as error:
        raise PinError(str(error)) from None
    files = [one for one in listed if is_version(one.version or "", pin.version)]
    wheels = _kept(PackageWheel, "wheel", files, pin)
    sdists = _kept(PackageSdist, "sdist", files, pin)
    if not (wheels or sdists):
        raise PinError(
            _("The index has no file of %(name)s %(version)s with a pinned hash."),
            name=pin.name,
            version=pin.version,
        )
    noted: Mapping[str, object] = {"direct": pin.direct, "extras": list(pin.extras)}
    return Package(
        name=canonicalize_name(pin.name),
        version=Version(pin.version),
        marker=Marker(pin.marker) if pin.marker else None,
        index=_without_credentials(client.endpoint),
        wheels=wheels or None,
        sdist=next(iter(sdists), None),
        tool={OWN_TABLE: noted},
    )


def _direct(pin: Pin) -> Package:
    """Return a pin that comes from no index."""
    where, _sharp, fragment = pin.url.partition("#")
    value = fragment.partition("=")[2]
    vcs = archive = None
    if pin.is_commit:
        url, _at, commit = where.removeprefix("git+").rpartition("@")
        vcs = PackageVcs(type="git", url=url, commit_id=commit, subdirectory=value or None)
    else:
        archive = PackageArchive(url=where, hashes={"sha256": value})
    return Package(
        name=canonicalize_name(pin.name),
        marker=Marker(pin.marker) if pin.marker else None,
        vcs=vcs,
        archive=archive,
        tool={OWN_TABLE: {"direct": pin.direct, "extras": list(pin.extras)}},
    )


def _kept(kind: type[F], type_: str, files: Sequence[DistributionPackage], pin: Pin) -> list[F]:
    found = (_file(kind, one, pin) for one in files if one.package_type == type_)
    return [one for one in found if one is not None]


def _file(kind: type[F], file: DistributionPackage, pin: Pin) -> F | None:
    """Return a file's URL and hashes; None if none of its hashes is pinned."""
    pinned = {name: one for name, one in file.digests.items() if f"{name}:{one}" in pin.hashes}
    if not pinned:
        return None
    url = _without_credentials(file.url)
    return kind(
        name=file.filename, url=url, upload_time=file.upload_time, size=file.size, hashes=pinned
    )


def _without_credentials(url: str) -> str:
    # The file leaves the worker. A fragment has the hash, which has a field of its own.
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
