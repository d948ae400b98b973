"""Read lock files of other tools: `pylock.toml` by packaging, `uv.lock` by uv's own export."""

import posixpath
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_noop as _
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
"""The table under `[packages.tool]` for facts of a pin that PEP 751 has no field for."""

_MANY_USES = re.compile(r"\b(extras|dependency_groups)\b")


def read_pylock(path: str, files: Files) -> Asking:
    """Read a `pylock.toml` (PEP 751); errors are returned as problems."""
    data = files(path)
    if data is None:
        return Asking(problems=(Problem(path, 0, "there is no such file"),))
    try:
        text = data.decode()
        lock = Pylock.from_dict(tomllib.loads(text))
    except (PylockValidationError, ValueError, RecursionError) as error:
        return Asking(problems=(Problem(path, 0, f"it is not a lock file: {shown(str(error))}"),))
    needed = {
        canonicalize_name(str(one.get("name", "")))
        for package in lock.packages
        for one in package.dependencies or ()
    }
    asked, problems = [], []
    for package, line in zip(lock.packages, _lines_of(text, lock.packages), strict=True):
        # PEP 751 does not say what was asked for: what no other package needs counts as that.
        taken = _asked(package, path, line, package.name not in needed)
        problems += [taken] if isinstance(taken, Problem) else []
        asked += [taken] if isinstance(taken, Asked) else []
    return Asking(tuple(asked), problems=tuple(problems), files=(path,))


def read_uv_lock(path: str, files: Files, folder: str = "") -> Asking:
    """Read a `uv.lock` and the `pyproject.toml` beside it, by `uv export`.

    Of a workspace, read the member that contains the site's `folder` (relative to the top, as
    `path` is) and what that member needs, but not the other members' requirements.
    """
    lock = files(path)
    if lock is None:
        return Asking(problems=(Problem(path, 0, "there is no such file"),))
    top = posixpath.dirname(path)
    beside = posixpath.join(top, "pyproject.toml")
    if files(beside) is None:
        reason = "it can only be read together with the pyproject.toml beside it, which is missing"
        return Asking(problems=(Problem(path, 0, reason),))
    try:
        members = _members(lock)
        member = _member_of(members, posixpath.relpath(folder or ".", top or "."))
        # uv needs the pyproject.toml of every member, also to export a single one.
        projects = {}
        for each in {".", *members}:
            project = posixpath.normpath(posixpath.join(top, each, "pyproject.toml"))
            text = files(project)
            if text is None:
                raise PinError(
                    _("its member %(each)s has no %(project)s"),
                    each=shown(each),
                    project=shown(project),
                )
            projects[each] = text
        exported = _export(lock, projects, members.get(member, ""))
    except PinError as error:
        return Asking(problems=(Problem(path, 0, str(error)),))
    lines = exported.decode().splitlines()
    needed = [each for each in members if f"-e ./{each}" in lines]
    others = {f"-e ./{each}" for each in needed}
    kept = "\n".join(line for line in lines if line not in others).encode()
    found = read_text_files(path, {path: kept}.get)
    direct = _asked_by_project(projects[member])
    # No line: they are numbered in uv's export, which nobody sees.
    asked = (replace(one, direct=one.name in direct, line=0) for one in found.requirements)
    problems = (
        Problem(
            path,
            0,
            f"{shown(members[each])} is a member of the workspace, in {shown(each)}, and is not on"
            " an index: it can't be pinned by a version. Publish it on an index that the servers"
            " can reach",
        )
        for each in needed
    )
    project = posixpath.normpath(posixpath.join(top, member, "pyproject.toml"))
    return replace(
        found,
        requirements=tuple(asked),
        problems=(*problems, *found.problems),
        files=(path, project),
    )


def _members(lock: bytes) -> dict[str, str]:
    """Return the names of a workspace's members by folder; empty: it is a single project's lock.

    Raises PinError for an invalid lock.
    """
    try:
        content = tomllib.loads(lock.decode())
        names = set(content.get("manifest", {}).get("members", ()))
        packages = [one for one in content.get("package", ()) if one["name"] in names]
        folders: dict[str, str] = {}
        for one in packages:
            # https://docs.astral.sh/uv/concepts/projects/workspaces/
            (kind,) = one["source"].keys() & {"editable", "virtual", "directory"}
            folders[posixpath.normpath(one["source"][kind])] = str(one["name"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise PinError(_("it is not a lock file: %(error)s"), error=shown(str(error))) from None
    if outside := [each for each in folders if each.startswith(("/", ".."))]:
        raise PinError(
            _("its member %(outside)s is outside of its folder"), outside=shown(outside[0])
        )
    return folders


def _member_of(members: Mapping[str, str], folder: str) -> str:
    """Return the folder of the innermost member that contains a folder. Raises PinError."""
    inner = posixpath.normpath(folder)
    while inner not in members and inner not in ("", ".", "/", ".."):
        inner = posixpath.dirname(inner) or "."
    if members and inner not in members:
        listed = ", ".join(f"{each} ({name})" for each, name in sorted(members.items()))
        raise PinError(
            _(
                "it locks several members, and none of their folders contains the site: set "
                "the project's folder to one of %(listed)s"
            ),
            listed=shown(listed, 300),
        )
    return inner if members else "."


def _export(lock: bytes, projects: Mapping[str, bytes], package: str) -> bytes:
    """Return a member's requirements; `projects` are the contents of pyproject.toml by folder."""
    # Only these files are given to uv, and --frozen --offline keeps it from the index.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as name:
        folder = Path(name)
        for member, project in projects.items():
            (folder / member).mkdir(parents=True, exist_ok=True)
            (folder / member / "pyproject.toml").write_bytes(project)
        (folder / "uv.lock").write_bytes(lock)
        out = folder / "requirements.txt"
        where = ["export", f"--project={folder}", "--frozen", "--offline", f"--output-file={out}"]
        what = ["--no-emit-project", "--no-default-groups", "--no-header", "--no-annotate"]
        member_only = [f"--package={package}"] if package else []
        if reason := run_uv([*where, *what, *member_only]):
            reason = shown(reason.replace(f"{folder}/", ""), 300)
            raise PinError(_("uv can't export it: %(reason)s"), reason=reason)
        return out.read_bytes()


def _asked_by_project(project: bytes) -> set[str]:
    listed = tomllib.loads(project.decode()).get("project", {}).get("dependencies", [])
    names: set[str] = set()
    for one in listed:
        with suppress(InvalidRequirement):
            names.add(canonicalize_name(Requirement(str(one)).name))
    return names


def _asked(package: Package, path: str, line: int, direct: bool) -> Asked | Problem:
    marker = str(package.marker or "")
    # PEP 751 lets an installer choose extras and groups; a deployment installs one set.
    if _MANY_USES.search(marker):
        return Problem(
            path,
            line,
            f"{package.name} belongs only to an extra or a group: lock these into another file",
        )
    try:
        asked = Asked(package.name, marker=marker, direct=direct, file=path, line=line)
        asked = replace(asked, text=package.name, **_noted(package.tool or {}))
        if package.is_direct:
            listed = (package.archive.hashes if package.archive else {}).items()
            hashes = tuple(f"{name}:{one}" for name, one in listed if name == "sha256")
            return replace(asked, address=_address(package), hashes=hashes)
        specifier = SpecifierSet(f"=={_version(package)}")
    except ValueError as error:
        return Problem(path, line, f"{package.name}: {shown(str(error))}")
    return replace(asked, specifier=specifier, hashes=tuple(_hashes(package)))


def _noted(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a pin that `exporting` noted."""
    own = tool.get(OWN_TABLE)
    noted: dict[str, Any] = {}
    if isinstance(own, dict) and isinstance(own.get("direct"), bool):
        noted["direct"] = own["direct"]
    if isinstance(own, dict) and isinstance(own.get("extras"), list):
        noted["extras"] = tuple(sorted(canonicalize_name(str(one)) for one in own["extras"]))
    return noted


def _address(package: Package) -> Address:
    if (vcs := package.vcs) and vcs.url:
        inner = f"#subdirectory={vcs.subdirectory}" if vcs.subdirectory else ""
        return Address.of(f"{vcs.type}+{vcs.url}@{vcs.commit_id}{inner}")
    if (archive := package.archive) and archive.url:
        return Address.of(archive.url)
    for source in (package.vcs, package.archive):
        if source and source.path:
            return Address.of(source.path)
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


def _lines_of(text: str, packages: Sequence[Package]) -> list[int]:
    """Return the line on which each package's table begins; 0 if that is not known."""
    # tomllib gives no positions. A text that contains the head somewhere else spoils the count.
    lines = text.splitlines()
    heads = [number for number, line in enumerate(lines, 1) if "[[packages]]" in line]
    return heads if len(heads) == len(packages) else [0] * len(packages)
