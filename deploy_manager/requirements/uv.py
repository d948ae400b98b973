"""Running uv, which resolves what no code of ours does, and which here runs nobody's code.

All calls go through `run_uv`: it forbids every build, lets no configuration of a folder or an
account be read, and hands over a minimal environment with an empty folder as home.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from deploy_manager.exceptions import PinError
from deploy_manager.logs import mask
from deploy_manager.requirements.index_facts import own_index_url

TIMEOUT = 120.0
"""Seconds."""

TRUSTS = {"UV_SYSTEM_CERTS": "1"}
"""Certificates as the system trusts them; SSL_CERT_FILE and SSL_CERT_DIR go before."""

QUIET = ("--quiet", "--color=never", "--no-python-downloads")

BY_THIS_PYTHON = f"--python={sys.executable}"
"""Without it uv tries every Python on PATH for one of the version that is resolved for, which takes
longer than all the rest where these are shims.
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
"""Where packages come from and how they are reached: what an operator sets for the worker.

Nothing that has a build allowed (UV_NO_BINARY and the like), names a program to run
(UV_KEYRING_PROVIDER), or is a secret of the project.
"""

KEPT_PREFIXES = ("LC_", "UV_INDEX", "UV_CONCURRENT_")
"""UV_INDEX_<NAME>_USERNAME among them."""

_OWN_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_NO_INDEX")


@dataclass(frozen=True)
class Declared:
    """What a package says that it needs, without any of its code being run."""

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
    """Return why a command of uv failed, in its own words without secrets; blank: it did not.

    `index_url` is told by the environment, since a command line is everybody's to read; blank: the
    worker's own. Wheels are taken, and no source, but of the packages in `declared`: of these uv
    believes what is said there whatever their version, so that none has to be built to be asked.
    Raises PinError where uv takes too long, or is not installed.
    """
    program = _program()
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as home:
        options = [*_build_nothing(declared or {}), *_configured(declared or {}, Path(home))]
        try:
            done = subprocess.run(
                [program, *words, *options, *QUIET],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
                cwd=home,
                env=minimal_environment(Path(home)) | _index(words, index_url),
            )
        except subprocess.TimeoutExpired:
            raise PinError(f"uv found no full set of pins within {timeout:g} s.") from None
    if not done.returncode:
        return ""
    return mask(done.stderr.strip()).decode(errors="replace") or "uv gave no reason."


def _index(words: Sequence[str], index_url: str) -> dict[str, str]:
    """The one that is told, or that is set for pip; what is set for uv it finds itself."""
    if "--offline" in words or (not index_url and any(map(os.environ.get, _OWN_INDEX))):
        return {}
    return {"UV_DEFAULT_INDEX": index_url or own_index_url()}


def _build_nothing(declared: Mapping[str, Declared]) -> list[str]:
    """Options that forbid all builds; what is declared is never built, so its source may be taken.

    Of a package in `--no-binary` uv takes no wheel.
    """
    if not declared:
        return ["--no-build"]
    return ["--only-binary=:all:", *(f"--no-binary={name}" for name in sorted(declared))]


def minimal_environment(home: Path) -> dict[str, str]:
    """Return the variables that a program gets which reads what strangers wrote.

    Of what this process has, only how packages are reached; `home` is a folder without settings.
    The account's `~/.netrc` stays known, and so does uv's cache, for what it fetched once.
    """
    kept = {name: text for name, text in os.environ.items() if _is_kept(name)}
    netrc = Path("~/.netrc").expanduser()
    if netrc.is_file():
        kept.setdefault("NETRC", str(netrc))
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    kept.setdefault("UV_CACHE_DIR", f"{caches}/uv")
    return {**TRUSTS, **kept, "HOME": str(home)}


def _is_kept(name: str) -> bool:
    return name.upper() in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)


def _configured(declared: Mapping[str, Declared], home: Path) -> list[str]:
    """Have uv read this configuration, or none: no uv.toml and no pyproject.toml of anybody."""
    if not declared:
        return ["--no-config"]
    file = home / "uv.toml"
    tables = [_table(name, one) for name, one in sorted(declared.items())]
    file.write_text(tomli_w.dumps({"dependency-metadata": tables}), encoding="utf-8")
    return [f"--config-file={file}"]


def _table(name: str, declared: Declared) -> dict[str, Any]:
    """As uv takes it; without a version it holds for all, so that none is built to be asked."""
    table: dict[str, Any] = {"name": name, "requires-dist": list(declared.requires)}
    table["provides-extra"] = list(declared.extras)
    return table | (
        {"requires-python": declared.requires_python} if declared.requires_python else {}
    )


def _program() -> str:
    """The command, from this interpreter's own environment or from PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("uv", path=os.pathsep.join(folders))
    if found is None:
        raise PinError("uv is not installed here: pip install uv.")
    return found
