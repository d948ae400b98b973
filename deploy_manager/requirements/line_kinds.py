"""Classify a requirement as pip does: a name, a URL, a repository or a path.

pip-requirements-parser follows an older pip, which accepted extras in `#egg=`, any name after `-e`
and every path; so only its primitives are used, and `packaging` for everything with a
specification. Only files that the caller provides exist: a folder is a project if its
`pyproject.toml` or `setup.py` is provided.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit
from urllib.request import pathname2url

from django.utils.translation import gettext_noop as _
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

from deploy_manager.messages import Message

Files = Callable[[str], bytes | None]
"""Returns a file by its path relative to the top; None if there is none."""

_HERE = "/here"
"""A placeholder for the folder that paths are relative to."""

# Newer versions of packaging end such a version at a comma; the one in pip does not yet.
_ARBITRARY = re.compile(r"===\s*[^\s;)]*")
_AFTER_ARBITRARY = re.compile(r"\s*([,;)]|$)")

_SCHEMES = frozenset(["http", "https", "file", "ftp", *vcs_all_schemes])
_REPOSITORIES = ("bzr", "git", "hg", "svn")


class BadRequirementError(ValueError):
    """A line that pip refuses."""


@dataclass(frozen=True)
class Kind:
    """A classified requirement."""

    requirement: Requirement | None
    """None for a path or a URL without a name."""

    url: str = ""
    """Where it comes from; a path as a `file:` URL or as it is written. Blank: from an index."""

    extras: frozenset[str] = frozenset()
    marker: str = ""


def read_kind(text: str, files: Files) -> Kind:
    """Classify a requirement. Raises ValueError with the reason if pip refuses it."""
    semicolon = "; " if _is_url(text) else ";"  # a URL may contain one without a blank
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
    """Classify the value of `-e`. Raises ValueError with the reason if pip refuses it."""
    try:
        found = Requirement(text)
    except InvalidRequirement:
        found = None
    if found and found.url:
        name, url, extras = found.name, found.url, frozenset(found.extras)
    else:
        name, url, extras = _plain_editable(text, files)
    link = _check_link(url)
    if not link.is_vcs and not url.startswith("file:"):
        raise BadRequirementError(
            Message(_("it is neither a project in the folder nor a repository"))
        )
    if not name and not url.startswith("file:"):
        raise BadRequirementError(Message(_("it has no name: write name @ URL")))
    marker = str(found.marker or "") if found and found.url else ""
    return Kind(_requirement(name) if name else None, url, extras, marker)


def _plain_editable(text: str, files: Files) -> tuple[str, str, frozenset[str]]:
    """Return the name, URL and extras of what is not `name @ URL`."""
    bare, extras = _without_extras(text)
    path = posixpath.normpath(posixpath.join(_HERE, bare))
    if bare and _is_project(path, files):
        return "", _file_url(path), extras
    if bare.lower().startswith("file:"):
        return _check_link(bare).egg_fragment or "", bare, extras
    # pip takes `git:…` for `git+git:…`.
    if text.lower().startswith(tuple(f"{one}:" for one in _REPOSITORIES)):
        text = f"{text.partition(':')[0].lower()}+{text}"
    return _check_link(text).egg_fragment or "", text, frozenset()


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
    """Return a URL as a link. Raises ValueError if pip refuses it."""
    link = Link(url)
    if link.egg_fragment is not None and not is_valid_name(link.egg_fragment):
        raise BadRequirementError(
            Message(_("the value of #egg= is not a name: write name[extras] @ URL"))
        )
    if link.scheme == "file" and (
        not url.startswith("file:") or urlsplit(url).netloc not in ("", "localhost")
    ):
        raise BadRequirementError(Message(_("a file on another machine can't be installed")))
    return link


def _file_url(path: str) -> str:
    return urljoin("file://", pathname2url(path))


def _is_url(text: str) -> bool:
    return urlsplit(text).scheme in _SCHEMES


def _is_path(path: str, body: str, files: Files) -> bool:
    # The order of these questions is pip's: a bare `name` is a name even if such a folder exists.
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
        return None  # outside of the top
    return files(posixpath.normpath(path.removeprefix(f"{_HERE}/")))


def _without_extras(path: str) -> tuple[str, frozenset[str]]:
    """Split `[extras]` from the end of a path. Raises ValueError for invalid extras."""
    start = path.rfind("[")
    if start < 1 or not re.fullmatch(r"\[[^\]]+\]", path[start:]):
        return path, frozenset()
    return path[:start].rstrip(), frozenset(convert_extras(path[start:]))


def _requirement(text: str) -> Requirement:
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        if "/" in text:
            reason = "it is neither a name nor a project in the folder"
        elif "=" in text and not re.search(r"[~=!<>]=|<|>", text):
            reason = "= is not an operator: did you mean == ?"
        raise BadRequirementError(reason) from None
    ends = [one.end() for one in _ARBITRARY.finditer(text)] if not found.url else []
    if not all(_AFTER_ARBITRARY.match(text, end) for end in ends):
        raise BadRequirementError(
            Message(_("=== takes everything up to a blank as its version, also a comma"))
        )
    return found
