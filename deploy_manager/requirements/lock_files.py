"""Lock files of other tools: `pylock.toml` (PEP 751) by packaging, `uv.lock` by uv's own export."""

import posixpath
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock, PylockValidationError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.asked import Address, Asked, Asking, Problem, shown
from deploy_manager.requirements.line_kinds import Files
from deploy_manager.requirements.line_options import STRONG_HASHES
from deploy_manager.requirements.text_files import read_text_files
from deploy_manager.requirements.uv import run_uv

OWN_TABLE = "deploy-manager"
"""Under `[packages.tool]`: what a pin knows and PEP 751 has no word for."""

_MANY_USES = re.compile(r"\b(extras|dependency_groups)\b")


def read_pylock(path: str, files: Files) -> Asking:
    """Read a `pylock.toml`; what is wrong in it is a problem."""
    data = files(path)
    if data is None:
        return Asking(problems=(Problem(path, 0, "there is no such file"),))
    try:
        text = data.decode()
        lock = Pylock.from_dict(tomllib.loads(text))
    except (PylockValidationError, ValueError, RecursionError) as error:
        return Asking(problems=(Problem(path, 0, f"it is no lock file: {shown(str(error))}"),))
    needed = {_needed(one) for package in lock.packages for one in package.dependencies or ()}
    asked, problems = [], []
    for package, line in zip(lock.packages, _lines_of(text, lock.packages), strict=True):
        taken = _asked(package, path, line, package.name not in needed)
        problems += [taken] if isinstance(taken, Problem) else []
        asked += [taken] if isinstance(taken, Asked) else []
    return Asking(tuple(asked), problems=tuple(problems), files=(path,))


def read_uv_lock(path: str, files: Files) -> Asking:
    """Read what `uv export` says of a `uv.lock` and the `pyproject.toml` beside it."""
    project = posixpath.join(posixpath.dirname(path), "pyproject.toml")
    beside, lock = files(project), files(path)
    if lock is None:
        return Asking(problems=(Problem(path, 0, "there is no such file"),))
    if beside is None:
        reason = "it can only be read together with the pyproject.toml beside it, which is missing"
        return Asking(problems=(Problem(path, 0, reason),))
    try:
        exported = _export(lock, beside)
    except PinError as error:
        return Asking(problems=(Problem(path, 0, f"uv can't export it: {error}"),))
    found = read_text_files(path, {path: exported}.get)
    direct = _asked_by_project(beside)
    asked = (replace(one, direct=one.name in direct, line=0) for one in found.requirements)
    return replace(found, requirements=tuple(asked), files=(path, project))


def _export(lock: bytes, project: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as name:
        folder = Path(name)
        (folder / "pyproject.toml").write_bytes(project)
        (folder / "uv.lock").write_bytes(lock)
        out = folder / "requirements.txt"
        where = ["export", f"--project={folder}", "--frozen", "--offline", f"--output-file={out}"]
        what = ["--no-emit-project", "--no-default-groups", "--no-header", "--no-annotate"]
        if reason := run_uv([*where, *what]):
            raise PinError(shown(reason.replace(f"{folder}/", ""), 300))
        return out.read_bytes()


def _asked_by_project(project: bytes) -> set[str]:
    listed = tomllib.loads(project.decode()).get("project", {}).get("dependencies", [])
    return {name for one in listed if (name := _name_of(one))}


def _name_of(dependency: object) -> str:
    try:
        return canonicalize_name(Requirement(str(dependency)).name)
    except InvalidRequirement:
        return ""


def _asked(package: Package, path: str, line: int, direct: bool) -> Asked | Problem:
    marker = str(package.marker or "")
    if _MANY_USES.search(marker):
        return Problem(
            path,
            line,
            f"{package.name} belongs to an extra or a group only: lock them into a file of its own",
        )
    asked = Asked(package.name, marker=marker, direct=direct, file=path, line=line)
    asked = replace(asked, text=package.name, **_noted(package.tool or {}))
    if package.is_direct:
        return replace(asked, address=_address(package))
    try:
        specifier = SpecifierSet(f"=={_version(package)}")
    except ValueError as error:
        return Problem(path, line, f"{package.name}: {shown(str(error))}")
    return replace(asked, specifier=specifier, hashes=tuple(_hashes(package)))


def _noted(tool: Mapping[str, Any]) -> dict[str, Any]:
    """What our own export noted of a pin."""
    own = tool.get(OWN_TABLE)
    noted: dict[str, Any] = {}
    if isinstance(own, dict) and isinstance(own.get("direct"), bool):
        noted["direct"] = own["direct"]
    if isinstance(own, dict) and isinstance(own.get("extras"), list):
        noted["extras"] = tuple(sorted(canonicalize_name(str(one)) for one in own["extras"]))
    return noted


def _address(package: Package) -> Address:
    for source in (package.vcs, package.archive):
        if source and (where := source.url or source.path):
            return Address.of(where)
    return Address(package.directory.path if package.directory else "")


def _version(package: Package) -> str:
    if package.version:
        return str(package.version)
    for wheel in package.wheels or ():
        return str(parse_wheel_filename(wheel.filename)[1])
    return str(parse_sdist_filename(package.sdist.filename)[1]) if package.sdist else ""


def _hashes(package: Package) -> Iterable[str]:
    files: list[PackageWheel | PackageSdist] = [*(package.wheels or ())]
    files += [package.sdist] if package.sdist else []
    for file in files:
        yield from (f"{name}:{one}" for name, one in file.hashes.items() if name in STRONG_HASHES)


def _needed(dependency: Mapping[str, Any]) -> str:
    return canonicalize_name(str(dependency.get("name", "")))


def _lines_of(text: str, packages: Iterable[Package]) -> list[int]:
    """Where each package's table begins; TOML's reader does not tell."""
    lines = text.splitlines()
    heads = [number for number, line in enumerate(lines, 1) if "[[packages]]" in line]
    count = len([*packages])
    return heads if len(heads) == count else [0] * count
