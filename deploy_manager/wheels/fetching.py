"""Fetch a file of a package from an index; its user and password never leave this process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from django.utils.translation import gettext_noop as _
from pypi_simple import (
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedRepoVersionError,
)

from deploy_manager.exceptions import WheelError
from deploy_manager.messages import Message
from deploy_manager.requirements.index_client import login_masked
from deploy_manager.requirements.pins import Pin
from deploy_manager.wheels.cache import Cache, Kept, digest_of
from deploy_manager.wheels.choosing import choose
from deploy_manager.wheels.python import ServerPython

TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and between two pieces of an answer."""

LONGEST_REASON = 500


def fetch(client: PyPISimple, pin: Pin, python: ServerPython, cache: Cache, key: str) -> Kept:
    """Fetch the file for a pin that a Python takes; the caller holds the lock of `key`.

    Raises WheelError if no file fits, or if a file does not have the hash that the lock says.
    """
    part = cache.part(key)
    try:
        with _explained(client, pin):
            page = client.get_project_page(pin.name, timeout=TIMEOUT)
            file = choose(pin, page.packages, python)
            # Verified below instead, against the lock and not against what the index says.
            client.download_package(file, part, verify=False, timeout=TIMEOUT)
        _verify(part, file, pin)
        return cache.keep(part, Path(file.filename).name)  # an index may send a path
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


@contextmanager
def _explained(client: PyPISimple, pin: Pin) -> Iterator[None]:
    """Raise errors of an index as WheelError, without its password."""
    try:
        yield
    except NoSuchProjectError:
        raise WheelError(
            Message(
                _("%(index)s has no package %(name)s."),
                WheelError.code,
                index=client.endpoint,
                name=pin.name,
            ).masked()
        ) from None
    except (requests.RequestException, ValueError, UnsupportedRepoVersionError) as error:
        why = Message(
            _("%(name)s %(version)s could not be fetched from %(index)s: %(error)s"),
            WheelError.code,
            name=pin.name,
            version=pin.version,
            index=client.endpoint,
            error=" ".join(str(error).split()),
        )
        with login_masked(client):
            raise WheelError(why.masked(LONGEST_REASON)) from None
    except OSError as error:
        raise WheelError(
            _("%(name)s could not be written to the cache: %(error)s"), name=pin.name, error=error
        ) from None


def _verify(part: Path, file: DistributionPackage, pin: Pin) -> None:
    """Compare with the lock; for a lock without hashes, with what the index itself gives."""
    listed = [f"{algorithm}:{digest}" for algorithm, digest in file.digests.items()]
    expected = pin.hashes or [one for one in listed if one.startswith(("sha256:", "sha512:"))]
    if not expected:
        return
    found = {f"{name}:{digest_of(part, name)}" for name in {one.split(":")[0] for one in expected}}
    if found.isdisjoint(expected):
        source = "the lock" if pin.hashes else "the index"
        raise WheelError(
            _(
                "%(filename)s does not have the hash that %(source)s gives: nothing was "
                "installed. It has %(found)s, but should have one of %(expected)s."
            ),
            filename=file.filename,
            source=source,
            found=", ".join(sorted(found)),
            expected=", ".join(sorted(expected)[:3]),
        )
