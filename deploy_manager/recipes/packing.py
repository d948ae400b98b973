"""Tools that are taken from the worker to the servers: virtualenv and others as one file, uv."""

import fcntl
import hashlib
import importlib.metadata
import shutil
import sys
import sysconfig
import tempfile
import zipapp
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import OLDEST_PYTHON

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_MAIN = "virtualenv.__main__:run_with_catch"


def virtualenv_zipapp(cache: Path, python_version: str) -> Path:
    """Return the worker's own virtualenv, with all it needs and pip's wheel, as one file.

    Made once for its version; whoever wants it meanwhile waits. Raises RecipeError where it can't
    run by the server's `python_version`.
    """
    distributions = sorted(_with_dependencies("virtualenv"), key=lambda found: found.name)
    _check_python(distributions, python_version)
    return _packed_once(cache, "virtualenv", distributions)


@cache
def oldest_python() -> tuple[int, int]:
    """Return the oldest Python by which a server can run what makes virtual environments there.

    The worker's own tools are sent, and newer ones may need more than OLDEST_PYTHON.
    """
    needed = [_needed_python(found) for found in _with_dependencies("virtualenv")]
    major, oldest = OLDEST_PYTHON
    own = sys.version_info.minor  # which runs them
    fits = (
        minor
        for minor in range(oldest, own)
        if all(specifiers.contains(f"{major}.{minor}.99") for specifiers in needed)
    )
    return major, next(fits, max(own, oldest))


def tags_zipapp(cache: Path) -> Path:
    """Return a file that tells, run by a server's Python, which wheels that takes.

    It has the worker's own `packaging` in it, and is made once for its version.
    """
    main = files("deploy_manager.recipes").joinpath("remote", "tell_tags.py").read_bytes()
    return _packed_once(cache, "tags", list(_with_dependencies("packaging")), main)


def _packed_once(
    cache: Path, name: str, distributions: list[importlib.metadata.Distribution], main: bytes = b""
) -> Path:
    """`main` is the module that is run; blank: virtualenv's own."""
    versions = " ".join(f"{found.name}=={found.version}" for found in distributions)
    digest = hashlib.sha256(versions.encode() + main).hexdigest()[:12]
    target = cache / f"{name}-{digest}.pyz"
    cache.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _pack(distributions, target, main)
    return target


def _check_python(distributions: list[importlib.metadata.Distribution], version: str) -> None:

    for found in distributions:
        needed = _needed_python(found)
        if not needed.contains(version, prereleases=True):
            raise RecipeError(
                f"The server's Python is {version}, but the worker's {found.name} {found.version}"
                f" needs {needed}: name another interpreter of the server in the environment."
            )


def _needed_python(distribution: importlib.metadata.Distribution) -> "SpecifierSet":
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(str(distribution.metadata.json.get("requires_python", "")))


def _pack(distributions: list[importlib.metadata.Distribution], target: Path, main: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code, packed = Path(folder) / "code", Path(folder) / target.name
        for distribution in distributions:
            _copy(distribution, code)
        if main:
            (code / "__main__.py").write_bytes(main)
        zipapp.create_archive(code, packed, main=None if main else _MAIN, compressed=True)
        packed.replace(target)


def _copy(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    if not distribution.files:
        raise RecipeError(
            f"The worker's {distribution.name} has no list of its files, so it can't be packed:"
            " install virtualenv by pip."
        )
    for file in distribution.files:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), target)


def _with_dependencies(name: str) -> Iterator[importlib.metadata.Distribution]:
    """Yield an installed distribution and all that it requires here, each once."""
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
    """Return the worker's uv and the name it gets on servers of this platform.

    Raises RecipeError where there is none, or where it is made for another platform.
    """
    try:
        uv = importlib.metadata.distribution("uv")
    except importlib.metadata.PackageNotFoundError:
        raise RecipeError(
            "uv is not installed on the worker: pip install uv,"
            " or set the environment's installer to pip."
        ) from None
    own = sysconfig.get_platform()
    if platform != own:
        raise RecipeError(
            f"The worker's uv is made for {own}, the server is {platform}:"
            " set the environment's installer to pip."
        )
    programs = (Path(str(file.locate())) for file in uv.files or () if file.name == "uv")
    return next(programs), f"uv-{uv.version}-{own}"
