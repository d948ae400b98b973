"""Pins that come from no index: a commit of a repository, or a file at a URL with its hash."""

import re
from posixpath import basename
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from deploy_manager.drift import version_of_commit
from deploy_manager.requirements.asked import Address, Asked

_SCHEMES_OF_GIT = ("git+https", "git+http", "git+ssh", "git+file")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# No character that means something to a shell, to pip's placeholders or to a requirements file.
_PLACE = re.compile(r"[A-Za-z0-9._~%+@:/\[\]=&?,-]+")
_SUBDIRECTORY = re.compile(r"(?!.*\.\.)[A-Za-z0-9._-][A-Za-z0-9._/-]*")


class NotDirectError(ValueError):
    """Why a URL is not a pin, and what to write instead."""


def direct_pin(asked: Asked) -> tuple[str, str]:
    """Return the version and the URL, as locks have it, of a requirement that has one.

    The version of a commit is unknown until it is built: see `version_of_commit`. Raises
    NotDirectError.
    """
    if asked.address is None or not asked.name:
        raise NotDirectError(f"{asked.text} is a path or a URL: write name @ URL")
    parts = urlsplit(asked.address.url)
    if parts.scheme in _SCHEMES_OF_GIT:
        return _commit(asked, asked.address)
    if parts.scheme in ("https", "http"):
        return _file(asked, asked.address)
    raise NotDirectError(
        f"{asked.text} is a path or a URL: it can't be pinned by a version. Pin a commit,"
        " name @ git+https://…@<40 hexadecimal digits>, or a file, name @ https://…#sha256=…"
    )


def _commit(asked: Asked, address: Address) -> tuple[str, str]:
    parts = urlsplit(address.url)
    place, _at, commit = parts.path.rpartition("@")
    if not place or not _COMMIT.fullmatch(commit):
        raise NotDirectError(
            f"{asked.text} is not pinned to a commit: write all 40 digits of it, as git rev-parse"
            " prints them, after @ at the end of the URL. A branch or a tag may move"
        )
    if asked.editable:
        raise NotDirectError(
            f"{asked.text}: a release can't be installed as editable. Write it without -e:"
            f" {asked.name} @ git+…@{commit}"
        )
    if asked.hashes:
        raise NotDirectError(f"{asked.text}: its commit is its hash. Leave out --hash")
    subdirectory = parse_qs(parts.fragment).get("subdirectory", [""])[0]
    if subdirectory and not _SUBDIRECTORY.fullmatch(subdirectory):
        raise NotDirectError(f"{asked.text}: its subdirectory is not a folder of the repository")
    inner = f"subdirectory={subdirectory}" if subdirectory else ""
    return version_of_commit(commit), _url(asked, address, inner)


def _file(asked: Asked, address: Address) -> tuple[str, str]:
    parts = urlsplit(address.url)
    name, version = _named(unquote(basename(parts.path)))  # 1.0%2Blocal
    if name != asked.name:
        raise NotDirectError(
            f"{asked.text}: its file has to be a wheel or an sdist of {asked.name}, named as the"
            " packaging standards say, like shopkit-1.0-py3-none-any.whl"
        )
    said = parse_qs(parts.fragment).get("sha256", [])
    hashes = {*said, *(one.removeprefix("sha256:") for one in asked.hashes)}
    if len(hashes) != 1 or not all(map(_SHA256.fullmatch, hashes)):
        raise NotDirectError(
            f"{asked.text} has no single hash of its file: write #sha256=… after its URL"
        )
    return version, _url(asked, address, f"sha256={hashes.pop()}")


def _named(filename: str) -> tuple[str, str]:
    try:
        if filename.endswith(".whl"):
            wheel, version, _build, _tags = parse_wheel_filename(filename)
            return wheel, str(version)
        sdist, version = parse_sdist_filename(filename)
        return canonicalize_name(sdist), str(version)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return "", ""


def _url(asked: Asked, address: Address, fragment: str) -> str:
    """Return the URL as locks have it: without a password, which every reader of a lock sees."""
    parts = urlsplit(address.url)
    login = address.credentials.value
    # git@host of SSH is an account that has no password.
    if login and (parts.scheme != "git+ssh" or not re.fullmatch(r"[A-Za-z0-9._-]+", login)):
        raise NotDirectError(
            f"{asked.text}: leave user and password out, and store them for the account that"
            " fetches it: with git's credential helper, an SSH key, or in .netrc"
        )
    place = f"{login}@{parts.netloc}" if login else parts.netloc
    url = urlunsplit(parts._replace(netloc=place, fragment=""))
    if parts.scheme == "git+file":
        # urlunsplit leaves out an empty host, without which pip takes it for something else.
        url = f"git+file://{parts.path}"
    if not _PLACE.fullmatch(url) or (not parts.netloc and parts.scheme != "git+file"):
        raise NotDirectError(f"{asked.text}: its URL has characters that no pin may have")
    return f"{url}#{fragment}" if fragment else url
