"""Getting a file of a package from an index. The index's user and password stay in this process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from pypi_simple import (
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedRepoVersionError,
)

from deploy_manager.exceptions import WheelError
from deploy_manager.logs import mask_text
from deploy_manager.requirements.pins import Pin
from deploy_manager.wheels.cache import Cache, Kept, digest_of
from deploy_manager.wheels.choosing import choose
from deploy_manager.wheels.python import ServerPython

TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and for each piece of an answer."""

LONGEST_REASON = 500


def fetch(client: PyPISimple, pin: Pin, python: ServerPython, cache: Cache, key: str) -> Kept:
    """Fetch what a Python takes for a pin; whoever calls holds the lock of `key`.

    Raises WheelError where there is nothing that fits, or what comes is not what the lock says.
    """
    part = cache.part(key)
    try:
        with _told(client, pin):
            page = client.get_project_page(pin.name, timeout=TIMEOUT)
            file = choose(pin, page.packages, python)
            client.download_package(file, part, verify=False, timeout=TIMEOUT)
        _verify(part, file, pin)
        return cache.keep(part, Path(file.filename).name)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


@contextmanager
def _told(client: PyPISimple, pin: Pin) -> Iterator[None]:
    """Turn what speaking with an index raises into words, without its password."""
    try:
        yield
    except NoSuchProjectError:
        raise WheelError(mask_text(f"{client.endpoint} has no package {pin.name}.")) from None
    except (requests.RequestException, ValueError, UnsupportedRepoVersionError) as error:
        text = f"{pin.name} {pin.version} could not be fetched from {client.endpoint}: {error}"
        raise WheelError(mask_text(" ".join(text.split()))[:LONGEST_REASON]) from None
    except OSError as error:
        raise WheelError(f"{pin.name} could not be written to the cache: {error}") from None


def _verify(part: Path, file: DistributionPackage, pin: Pin) -> None:
    """Compare with the lock; for a lock without hashes, with what the index itself says."""
    told = [f"{algorithm}:{digest}" for algorithm, digest in file.digests.items()]
    expected = pin.hashes or [one for one in told if one.startswith(("sha256:", "sha512:"))]
    if not expected:
        return
    found = {f"{name}:{digest_of(part, name)}" for name in {one.split(":")[0] for one in expected}}
    if found.isdisjoint(expected):
        says = "the lock" if pin.hashes else "the index"
        raise WheelError(
            f"{file.filename} is not what {says} says: nothing was installed. It came with"
            f" {', '.join(sorted(found))}; expected was one of {', '.join(sorted(expected)[:3])}."
        )
