"""Pins as files for other tools, which install exactly the same."""

import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import tomli_w
from packaging.markers import Marker
from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock, PylockValidationError

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.lock_files import OWN_TABLE
from deploy_manager.requirements.pins import Pin, lock_text
from deploy_manager.requirements.uv import BY_THIS_PYTHON, Declared, run_uv

F = TypeVar("F", PackageWheel, PackageSdist)


def export_requirements(pins: Sequence[Pin]) -> str:
    """Return pins as a requirements file for `pip install --no-deps -r`, with their hashes."""
    hashes = " --require-hashes" if all(pin.hashes for pin in pins) else ""
    return f"# pip install --no-deps{hashes} -r <this file>\n{lock_text(pins)}"


def export_pylock(pins: Sequence[Pin], index_url: str = "") -> str:
    """Return pins as a `pylock.toml` (PEP 751), with the files an index has for them.

    Only files whose hash is pinned are named. Raises PinError where the index does not have them,
    and for pins without hashes, which PEP 751 does not know.
    """
    if bare := [pin.name for pin in pins if not pin.hashes]:
        raise PinError(
            f"{', '.join(bare[:5])}: a pylock.toml needs hashes. Import the pins with --lock,"
            " or export them as a requirements file."
        )
    lock = _ask_index(pins, index_url)
    found = {(str(one.name), str(one.version)): one for one in lock.packages}
    packages = [_package(pin, found.get((pin.name, pin.version))) for pin in pins]
    made = replace(lock, created_by="deploy-manager", packages=packages)
    return tomli_w.dumps(dict(made.to_dict()))


def _ask_index(pins: Sequence[Pin], index_url: str) -> Pylock:
    """Have uv look up where the files of these very versions are."""
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as name:
        pinned, lock = Path(name) / "requirements.txt", Path(name) / "pylock.toml"
        pinned.write_text(lock_text(pins), encoding="utf-8")
        words = ["pip", "compile", BY_THIS_PYTHON, str(pinned), f"--output-file={lock}"]
        options = ["--no-header", "--no-deps", "--universal", "--format=pylock.toml"]
        # Without what they need nothing of any file is asked, so that no source is built.
        declared = {pin.name: Declared() for pin in pins}
        if reason := run_uv([*words, *options], index_url, declared=declared, builds_none=()):
            raise PinError(f"The index does not have all of it:\n{reason}")
        try:
            return Pylock.from_dict(tomllib.loads(lock.read_text(encoding="utf-8")))
        except PylockValidationError as error:
            raise PinError(f"uv wrote a lock that can't be read: {error}") from None


def _package(pin: Pin, found: Package | None) -> Package:
    """A package as it is pinned, with those of its files that are."""
    wheels = [one for wheel in (found.wheels or () if found else ()) if (one := _kept(wheel, pin))]
    sdist = _kept(found.sdist, pin) if found and found.sdist else None
    if found is None or not (wheels or sdist):
        raise PinError(f"The index has no file of {pin.name} {pin.version} with a pinned hash.")
    noted: Mapping[str, object] = {"direct": pin.direct, "extras": list(pin.extras)}
    return replace(
        found,
        marker=Marker(pin.marker) if pin.marker else None,
        wheels=wheels or None,
        sdist=sdist,
        tool={OWN_TABLE: noted},
    )


def _kept(file: F, pin: Pin) -> F | None:
    hashes = {name: one for name, one in file.hashes.items() if f"{name}:{one}" in pin.hashes}
    return replace(file, hashes=hashes) if hashes else None
