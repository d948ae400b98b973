"""Run uv, the resolver, so that it never runs the code of a package.

All calls go through `run_uv`: it forbids builds, keeps uv from reading any configuration of a
folder or an account, and passes a minimal environment with an empty folder as home.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import (
    ConfigurationError,
    IndexUnreachable,
    PinError,
    SecretUnreadable,
)
from deploy_manager.logins import explain, in_memory, login_of_index, path_of
from deploy_manager.logs import mask
from deploy_manager.masking import masking
from deploy_manager.requirements.own_index import own_index_url
from deploy_manager.sealing import Secret

TIMEOUT = 120.0
"""Seconds."""

TRUSTS = {"UV_SYSTEM_CERTS": "1"}
"""The system's certificates; SSL_CERT_FILE and SSL_CERT_DIR take precedence."""

QUIET = ("--quiet", "--color=never", "--no-python-downloads")

BY_THIS_PYTHON = f"--python={sys.executable}"
"""Without it uv starts every Python on PATH to find one of the version that it resolves for, which
takes longer than everything else if they are shims.
"""

KEPT_VARIABLES = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TMPDIR", "TZ"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "REQUESTS_CA_BUNDLE"),
        *("CURL_CA_BUNDLE", "PIP_CERT", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC"),
        *("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
        *("UV_INSECURE_HOST", "UV_OFFLINE", "UV_EXCLUDE_NEWER", "UV_CACHE_DIR"),
        *("UV_HTTP_TIMEOUT", "UV_HTTP_CONNECT_TIMEOUT", "UV_HTTP_RETRIES", "UV_REQUEST_TIMEOUT"),
    }
)
"""Variables by which an operator sets where packages come from and how they are reached.

None that would allow a build (UV_NO_BINARY and the like), names a program to run
(UV_KEYRING_PROVIDER), or holds a secret of the project.
"""

KEPT_PREFIXES = ("LC_", "UV_INDEX", "UV_CONCURRENT_")
"""UV_INDEX_<NAME>_USERNAME is one of these."""

_OWN_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_NO_INDEX")


@dataclass(frozen=True)
class Declared:
    """The metadata that a package declares statically."""

    requires: tuple[str, ...] = ()
    requires_python: str = ""
    extras: tuple[str, ...] = ()


def run_uv(
    words: Sequence[str],
    index_url: str = "",
    timeout: float = TIMEOUT,
    *,
    declared: Mapping[str, Declared] | None = None,
) -> str:
    """Return uv's report, without secrets, if a command failed; blank: it succeeded.

    A blank `index_url` means the worker's own. Only wheels are taken, except for the packages in
    `declared`: for these uv uses that metadata whatever their version, and builds none to get it.
    Raises PinError if uv takes too long, or is not installed, or if the worker's own is unknown.
    """
    # Beside the running interpreter first, whose environment need not be on a worker's PATH.
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    program = shutil.which("uv", path=os.pathsep.join(folders))
    if program is None:
        raise PinError(_("uv is not installed here: pip install uv."))
    with (
        tempfile.TemporaryDirectory(prefix="deploy_manager-") as home,
        _netrc(index_url) as (descriptors, netrc),
    ):
        options = _options(declared or {}, Path(home))
        try:
            done = subprocess.run(
                [program, *words, *options, *QUIET],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
                cwd=home,
                env=minimal_environment(Path(home)) | _index(words, index_url) | netrc,
                pass_fds=descriptors,
            )
            # Here, where the index's password is masked.
            said = mask(done.stderr.strip()).decode(errors="replace")
        except subprocess.TimeoutExpired:
            raise PinError(
                _("uv did not finish within %(timeout)s s."), timeout=f"{timeout:g}"
            ) from None
    if not done.returncode:
        return ""
    return said or "uv gave no reason."


@contextmanager
def _netrc(index_url: str) -> Iterator[tuple[tuple[int, ...], dict[str, str]]]:
    """Yield the descriptors and variables by which uv logs in to an index. Raises PinError.

    The file is in memory, and has what the account's own ~/.netrc has, too. During the block the
    password is masked: an index may repeat it.
    """
    login = login_of_index(index_url)
    if login is None:
        yield (), {}
        return
    try:
        line = login.netrc().value
        password = Secret(line.split()[-1])
    except (ConfigurationError, SecretUnreadable) as error:
        raise PinError(explain(login.name, error)) from None
    with masking([password]), in_memory(own_netrc() + line.encode()) as file:
        yield (file.fileno(),), {"NETRC": path_of(file)}


def own_netrc() -> bytes:
    """Return what the account itself has for other hosts, ending with a newline if anything."""
    with suppress(RuntimeError, OSError):
        own = Path(os.environ.get("NETRC") or Path.home() / ".netrc").read_bytes()
        return own.rstrip() + b"\n" if own.strip() else b""
    return b""


def _index(words: Sequence[str], index_url: str) -> dict[str, str]:
    # In the environment, as any account of the machine may read a command line. uv finds its own
    # settings there, but not pip's.
    if "--offline" in words or (not index_url and any(map(os.environ.get, _OWN_INDEX))):
        return {}
    try:
        return {"UV_DEFAULT_INDEX": str(index_url or own_index_url())}
    except IndexUnreachable as error:
        raise PinError(error.message) from None


def minimal_environment(home: Path) -> dict[str, str]:
    """Return the environment for a program that reads files written by strangers.

    It has only the variables by which packages are reached, and `home`, a folder without settings.
    The account's `~/.netrc` and uv's cache are passed, too.
    """
    kept = {
        name: text
        for name, text in os.environ.items()
        if name.upper() in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # Some accounts have no home, as in containers: then uv's cache lasts as long as this folder.
    with suppress(RuntimeError):
        own = Path.home()
        caches = caches or f"{own}/.cache"
        if (own / ".netrc").is_file():
            kept.setdefault("NETRC", f"{own}/.netrc")
    if caches:
        kept.setdefault("UV_CACHE_DIR", f"{caches}/uv")
    return {**TRUSTS, **kept, "HOME": str(home)}


def _options(declared: Mapping[str, Declared], home: Path) -> list[str]:
    """Return the options that forbid builds, and that replace any uv.toml or pyproject.toml."""
    if not declared:
        return ["--no-build", "--no-config"]
    tables: list[dict[str, Any]] = []
    for name, one in sorted(declared.items()):
        # Without a version the table applies to all: otherwise uv would build one that it lacks.
        table = {"name": name, "requires-dist": [*one.requires], "provides-extra": [*one.extras]}
        python = {"requires-python": one.requires_python} if one.requires_python else {}
        tables.append(table | python)
    file = home / "uv.toml"
    file.write_text(tomli_w.dumps({"dependency-metadata": tables}), encoding="utf-8")
    # --no-build would forbid all sources; --no-binary takes the source although wheels are wanted.
    sources = (f"--no-binary={name}" for name in sorted(declared))
    return ["--only-binary=:all:", *sources, f"--config-file={file}"]
