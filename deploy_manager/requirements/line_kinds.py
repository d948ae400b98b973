"""What one requirement is: a name, a URL, a repository, a path. As pip tells them apart.

pip-requirements-parser follows an older pip here, which took extras in `#egg=`, any name behind
`-e` and every path; so only its words are used, and `packaging` for all that has a specification.
What exists is only what the caller provides: a folder is a project where it gives its
`pyproject.toml` or `setup.py`.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from urllib.request import pathname2url

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import parse_wheel_filename
from pip_requirements_parser import (
    Link,
    convert_extras,
    is_archive_file,
    is_valid_name,
    vcs_all_schemes,
)

Files = Callable[[str], bytes | None]
"""What gives a file by its path relative to the top; None where there is none."""

_HERE = "/here"
"""Stands for the folder that paths are relative to."""

# Newer versions of packaging end such a version at a comma, pip's own does not yet.
_ARBITRARY = re.compile(r"===\s*[^\s;)]*")
_AFTER_ARBITRARY = re.compile(r"\s*([,;)]|$)")

_SCHEMES = frozenset(["http", "https", "file", "ftp", *vcs_all_schemes])
_REPOSITORIES = ("bzr", "git", "hg", "svn")


class BadRequirementError(ValueError):
    """A line that pip refuses."""


@dataclass(frozen=True)
class Kind:
    """What a line turned out to be."""

    requirement: Requirement | None
    """None for a path or a URL that does not tell its name."""

    url: str = ""
    """Where it comes from, if not from an index; a path as a `file:` URL or as it is written."""

    extras: frozenset[str] = frozenset()
    marker: str = ""


def read_kind(text: str, files: Files) -> Kind:
    """Return what a requirement is. Raises ValueError with the reason where pip refuses it."""
    semicolon = "; " if _is_url(text) else ";"
    body, _semicolon, condition = text.partition(semicolon)
    marker = str(Marker(condition.strip())) if condition.strip() else ""
    body = body.strip()
    if _is_url(body):
        return _of_link(body, body, frozenset(), marker)
    path, extras = _without_extras(posixpath.normpath(posixpath.join(_HERE, body)))
    if _is_path(path, body, files):
        return _of_link(_file_url(path), body, extras, marker)
    found = _requirement(body)
    if found.url:
        _check_link(found.url)
    marker = marker or str(found.marker or "")
    return Kind(found, found.url or "", extras or frozenset(found.extras), marker)


def read_editable(text: str, files: Files) -> Kind:
    """Return what stands behind `-e`. Raises ValueError with the reason where pip refuses it."""
    name, url, extras, marker = _direct_editable(text) or _plain_editable(text, files)
    link = _check_link(url)
    if not link.is_vcs and not url.startswith("file:"):
        raise BadRequirementError("a path or a URL of no project here and of no repository")
    if not name and not url.startswith("file:"):
        raise BadRequirementError("its name is not told: write name @ URL")
    return Kind(_requirement(name) if name else None, url, extras, marker)


def _direct_editable(text: str) -> tuple[str, str, frozenset[str], str] | None:
    try:
        found = Requirement(text)
    except InvalidRequirement:
        return None
    if not found.url:
        return None
    return found.name, found.url, frozenset(found.extras), str(found.marker or "")


def _plain_editable(text: str, files: Files) -> tuple[str, str, frozenset[str], str]:
    bare, extras = _without_extras(text)
    path = posixpath.normpath(posixpath.join(_HERE, bare))
    if bare and _is_project(path, files):
        return "", _file_url(path), extras, ""
    if bare.lower().startswith("file:"):
        return _check_link(bare).egg_fragment or "", bare, extras, ""
    if text.lower().startswith(tuple(f"{one}:" for one in _REPOSITORIES)):
        text = f"{text.partition(':')[0].lower()}+{text}"
    return _check_link(text).egg_fragment or "", text, frozenset(), ""


def _of_link(url: str, written: str, extras: frozenset[str], marker: str) -> Kind:
    link = _check_link(url)
    if link.scheme == "file" and "../" in url:
        inside = posixpath.normpath(posixpath.join(_HERE, link.path))
        link = _check_link(_file_url(inside))
    if link.is_wheel:
        name, version, _build, _tags = parse_wheel_filename(
            posixpath.basename(link.path.rstrip("/"))
        )
        return Kind(_requirement(f"{name}=={version}"), written, extras, marker)
    egg = link.egg_fragment
    return Kind(_requirement(egg) if egg else None, written, extras, marker)


def _check_link(url: str) -> Link:
    """Raises ValueError for what no link can be."""
    link = Link(url)
    if link.egg_fragment is not None and not is_valid_name(link.egg_fragment):
        raise BadRequirementError("what follows #egg= is no name: write name[extras] @ URL")
    if link.scheme == "file" and (
        not url.startswith("file:") or urlsplit(url).netloc not in ("", "localhost")
    ):
        raise BadRequirementError("a file of another machine can't be installed")
    return link


def _file_url(path: str) -> str:
    return urljoin("file://", pathname2url(path))


def _is_url(text: str) -> bool:
    return urlsplit(text).scheme in _SCHEMES


def _is_path(path: str, body: str, files: Files) -> bool:
    looks_like_one = "/" in body or body.startswith(".")
    if looks_like_one and _is_project(path, files):
        return True
    if not is_archive_file(path):
        return False
    if _give(path, files) is not None:
        return True
    name, at, _url = body.partition("@")
    return not at or "/" in name or name.startswith(".")


def _is_project(path: str, files: Files) -> bool:
    return any(
        _give(f"{path}/{file}", files) is not None for file in ("pyproject.toml", "setup.py")
    )


def _give(path: str, files: Files) -> bytes | None:
    if not path.startswith(f"{_HERE}/"):
        return None
    return files(posixpath.normpath(path.removeprefix(f"{_HERE}/")))


def _without_extras(path: str) -> tuple[str, frozenset[str]]:
    """Take `[extras]` off the end of a path. Raises ValueError where they are none."""
    start = path.rfind("[")
    if start < 1 or not re.fullmatch(r"\[[^\]]+\]", path[start:]):
        return path, frozenset()
    return path[:start].rstrip(), frozenset(convert_extras(path[start:]))


def _requirement(text: str) -> Requirement:
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        raise BadRequirementError(_why(text, str(error).partition("\n")[0])) from None
    ends = [one.end() for one in _ARBITRARY.finditer(text)] if not found.url else []
    if not all(_AFTER_ARBITRARY.match(text, end) for end in ends):
        raise BadRequirementError("=== takes all up to the next blank as its version, a comma too")
    return found


def _why(text: str, reason: str) -> str:
    if "/" in text:
        return "a path or a URL of no project here, and no name"
    if "=" in text and not re.search(r"[~=!<>]=|<|>", text):
        return "= compares nothing: did you mean == ?"
    return reason
