"""Provide the wheels of a lock for a server's Python, each fetched or built once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from django.utils.translation import gettext_noop as _
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from pypi_simple import PyPISimple

from deploy_manager.drift import is_version
from deploy_manager.exceptions import WheelError
from deploy_manager.requirements.index_facts import open_index
from deploy_manager.requirements.pins import Pin, lock_text
from deploy_manager.requirements.reading import read_pins
from deploy_manager.wheels.cache import Cache, Kept, key_of
from deploy_manager.wheels.fetching import fetch
from deploy_manager.wheels.once import once
from deploy_manager.wheels.python import ServerPython

Build = Callable[[Path | str, Path], str]
"""Builds an sdist, or what pip finds at a URL, as `name @ URL`; writes the wheel to the path, and
returns its name."""

FETCHES_AT_ONCE = 8


@dataclass(frozen=True)
class Provided:
    """What a server's Python has to install."""

    wheels: tuple[Kept, ...] = ()
    lock: str = ""
    """A requirements file that allows exactly these wheels."""


def provide(
    lock: str, python: ServerPython, index_url: str, cache: Cache, build: Build
) -> Provided:
    """Return the wheel for each pin of a lock that applies to a Python.

    The index (blank: the worker's own) is only asked for what is not in the cache. A package
    without a wheel that fits is built from its sdist. Raises PinError, WheelError, and what `build`
    raises.
    """
    pins = [pin for pin in read_pins(lock, "the lock") if python.is_true(pin.marker)]
    indexed = [pin for pin in pins if not pin.url]
    fetched = dict(zip(indexed, _fetch_all(indexed, python, index_url, cache), strict=True))
    wheels = tuple(_wheel(pin, fetched.get(pin), python, cache, build) for pin in pins)
    exact = (_exact(pin, wheel) for pin, wheel in zip(pins, wheels, strict=True))
    return Provided(wheels, lock_text(exact))


def _wheel(
    pin: Pin, fetched: Kept | None, python: ServerPython, cache: Cache, build: Build
) -> Kept:
    if fetched and fetched.is_wheel:
        return fetched
    if fetched:
        # By content: an index may offer another sdist of the same version later.
        return _built(pin, fetched.path, fetched.sha256, python, cache, build)
    what = replace(pin, marker="").requirement
    return _built(pin, what, what, python, cache, build)


def _exact(pin: Pin, wheel: Kept) -> Pin:
    """Return a pin of the very wheel that is sent: without its marker, which was decided here."""
    version = str(parse_wheel_filename(wheel.path.name)[1]) if pin.is_commit else pin.version
    return replace(pin, version=version, url="", marker="", hashes=(f"sha256:{wheel.sha256}",))


def _fetch_all(
    pins: Sequence[Pin], python: ServerPython, index_url: str, cache: Cache
) -> list[Kept]:
    # With the index: another one may offer other files of the same version.
    keys = [
        key_of("fetched", pin.name, pin.version, *pin.hashes, python.key, index_url) for pin in pins
    ]

    def recall() -> list[Kept] | None:
        found = [kept for key in keys if (kept := cache.recall(key)) is not None]
        return found if len(found) == len(keys) else None

    def make() -> list[Kept]:
        with open_index(index_url) as client, ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
            get = partial(_fetched, client, python, cache)
            return list(pool.map(get, pins, keys))

    # The whole set has a lock of its own, so that servers which wait for it need no threads.
    return once(cache.lock(key_of(*keys)), recall, make)


def _fetched(client: PyPISimple, python: ServerPython, cache: Cache, pin: Pin, key: str) -> Kept:
    def make() -> Kept:
        kept = fetch(client, pin, python, cache, key)
        cache.note(key, kept)
        return kept

    return once(cache.lock(key), lambda: cache.recall(key), make)


def _built(
    pin: Pin, source: Path | str, content: str, python: ServerPython, cache: Cache, build: Build
) -> Kept:
    """Return the wheel that was built from a source for such Pythons; `content` identifies it."""
    key = key_of("built", content, python.key)

    def make() -> Kept:
        part = cache.part(key)
        name = build(source, part)
        _check_name(name, pin, python)
        kept = cache.keep(part, name)
        cache.note(key, kept)
        return kept

    return once(cache.lock(key), lambda: cache.recall(key), make)


def _check_name(name: str, pin: Pin, python: ServerPython) -> None:
    # The name comes from a builder, which may send anything.
    try:
        project, version, _build, tags = parse_wheel_filename(name)
    except InvalidWheelFilename:
        raise WheelError(
            _("%(name)s was built to %(made)s, which is not a wheel."),
            name=pin.name,
            made=repr(name[:200]),
        ) from None
    if project != pin.name or not (pin.is_commit or is_version(str(version), pin.version)):
        raise WheelError(
            _("The source of %(name)s %(version)s was built to %(made)s."),
            name=pin.name,
            version=pin.version,
            made=repr(name[:200]),
        )
    if tags.isdisjoint(python.ranks):
        raise WheelError(
            _("%(name)s was built, which does not fit %(python)s: choose another builder."),
            name=name,
            python=python,
        )
