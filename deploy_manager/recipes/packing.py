"""Tools that the worker sends to servers: virtualenv and others as one file each, and uv."""

import fcntl
import hashlib
import importlib.metadata
import shutil
import sys
import sysconfig
import tempfile
import zipapp
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import OLDEST_PYTHON
from deploy_manager.recipes.shipping import compiled_module

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_MAIN = "virtualenv.__main__:run_with_catch"


def virtualenv_zipapp(cache: Path, python_version: str) -> Path:
    """Return the worker's virtualenv with its dependencies and pip's wheel as one file.

    Packed once per version; other processes wait meanwhile. Raises RecipeError if it can't run
    under the server's `python_version`.
    """
    distributions = sorted(_with_dependencies("virtualenv"), key=lambda found: found.name)
    for found in distributions:
        needed = _needed_python(found)
        if not needed.contains(python_version, prereleases=True):
            raise RecipeError(
                _(
                    "The server's Python is %(python_version)s, but the worker's %(name)s "
                    "%(version)s needs %(needed)s: enter another interpreter of the server in "
                    "the environment."
                ),
                python_version=python_version,
                name=found.name,
                version=found.version,
                needed=needed,
            )
    return _packed_once(cache, "virtualenv", distributions)


@cache
def oldest_python() -> tuple[int, int]:
    """Return the oldest Python that can run the worker's virtualenv on a server.

    Newer releases of virtualenv may need more than OLDEST_PYTHON.
    """
    needed = [_needed_python(found) for found in _with_dependencies("virtualenv")]
    major, oldest = OLDEST_PYTHON
    own = sys.version_info.minor  # runs them already
    fits = (
        minor
        for minor in range(oldest, own)
        # .99, since a minor version counts if its latest release fits, as for >=3.11.4.
        if all(specifiers.contains(f"{major}.{minor}.99") for specifiers in needed)
    )
    return major, next(fits, max(own, oldest))


def tags_zipapp(cache: Path) -> Path:
    """Return a program that prints which wheels a server's Python accepts.

    It contains the worker's `packaging`, and is packed once per version.
    """
    main = files("deploy_manager.recipes").joinpath("remote", "list_tags.py").read_bytes()
    return _packed_once(cache, "tags", list(_with_dependencies("packaging")), main)


def _packed_once(
    cache: Path, name: str, distributions: list[importlib.metadata.Distribution], main: bytes = b""
) -> Path:
    """Return the file, packing it first if needed. `main` is the code that it runs."""
    versions = " ".join(f"{found.name}=={found.version}" for found in distributions)
    made_of = f"{versions} {sys.implementation.cache_tag}"
    digest = hashlib.sha256(made_of.encode() + main).hexdigest()[:12]
    target = cache / f"{name}-{digest}.pyz"
    cache.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        # Many hosts of a deployment need the same file at the same moment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _pack(distributions, target, main)
    return target


def _needed_python(distribution: importlib.metadata.Distribution) -> "SpecifierSet":
    from packaging.specifiers import SpecifierSet  # late: Django imports recipes when it starts

    return SpecifierSet(str(distribution.metadata.json.get("requires_python", "")))


def _pack(distributions: list[importlib.metadata.Distribution], target: Path, main: bytes) -> None:
    # In the cache, since a rename can't cross file systems.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code, packed = Path(folder) / "code", Path(folder) / target.name
        for distribution in distributions:
            _copy(distribution, code)
        if main:
            (code / "__main__.py").write_bytes(main)
        # Else each start compiles all of it: nothing is kept of what is imported from a zip file.
        for module in code.rglob("*.py"):
            name = module.relative_to(code).as_posix()
            with suppress(SyntaxError):  # a template, or for another Python
                module.with_suffix(".pyc").write_bytes(compiled_module(name, module.read_bytes()))
        zipapp.create_archive(code, packed, main=None if main else _MAIN, compressed=True)
        packed.replace(target)


def _copy(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    if not distribution.files:
        raise RecipeError(
            _(
                "The worker's %(name)s can't be packed, since it has no list of its files: "
                "reinstall virtualenv on the worker with pip."
            ),
            name=distribution.name,
        )
    for file in distribution.files:
        # Scripts in bin/ are listed as ../../../bin/….
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), target)


def _with_dependencies(name: str) -> Iterator[importlib.metadata.Distribution]:
    """Yield an installed distribution and all its dependencies here, each once."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    done: set[str] = set()
    waiting = [name]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in done:
            continue
        done.add(name)
        distribution = importlib.metadata.distribution(name)
        yield distribution
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)


def uv_program(platform: str) -> tuple[Path, str]:
    """Return the worker's uv and its file name on servers of this platform.

    Raises RecipeError if it is not installed, or built for another platform.
    """
    try:
        uv = importlib.metadata.distribution("uv")
    except importlib.metadata.PackageNotFoundError:
        raise RecipeError(
            _(
                "uv is not installed on the worker: install it with pip install uv, or set the"
                " environment's installer to pip."
            )
        ) from None
    own = sysconfig.get_platform()
    if platform != own:
        raise RecipeError(
            _(
                "The worker's uv is built for %(own)s, but the server is %(platform)s: set "
                "the environment's installer to pip."
            ),
            own=own,
            platform=platform,
        )
    programs = (Path(str(file.locate())) for file in uv.files or () if file.name == "uv")
    return next(programs), f"uv-{uv.version}-{own}"
