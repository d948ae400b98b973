"""How this machine reaches package indexes, so that the servers of the tests do it alike."""

import ast
import configparser
import functools
import io
import os
import re
import subprocess
import sys
from pathlib import Path

PASSED_ON = re.compile(
    r"(PIP|UV)_|SSL_CERT_|(REQUESTS|CURL)_CA_BUNDLE|(https?|no)_proxy", re.IGNORECASE
)
"""What installing packages needs of the environment of the tests."""

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
OWN_AUTHORITIES = Path("/usr/local/share/ca-certificates")
APT_LOGINS = (Path("/etc/apt/auth.conf"), *sorted(Path("/etc/apt/auth.conf.d").glob("*.conf")))
APT_OPTION = re.compile(r"Acquire::(https?::|Retries |Check-|Proxy)", re.IGNORECASE)


def environment() -> dict[str, str]:
    """Return the variables that installing packages needs."""
    return {name: value for name, value in os.environ.items() if PASSED_ON.match(name)}


def files() -> dict[str, bytes]:
    """Return the certificates, and the settings of pip and apt, by the paths of a Debian system."""
    # update-ca-certificates writes the bundle anew, from the authorities, when packages ask for it.
    copied = [BUNDLE, *OWN_AUTHORITIES.rglob("*.crt"), *APT_LOGINS]
    return {
        **{str(path): path.read_bytes() for path in copied if path.is_file()},
        "/etc/pip.conf": _pip_configuration(),
        "/etc/apt/apt.conf.d/90outside": _apt_configuration(),
    }


def folders() -> list[Path]:
    """Return what lies on this disk and is named by pip's settings or the environment."""
    values = [*environment().values(), *(value for _name, value in _pip_options())]
    words = (word.removeprefix("file://") for value in values for word in value.split())
    found = {Path(word) for word in words if word.startswith("/") and Path(word).exists()}
    # An index on disk links to its files beside the folder that is named.
    return sorted(path.parent if path.name == "simple" else path for path in found)


def _pip_configuration() -> bytes:
    """Return what all of pip's files say together, as one."""
    parser = configparser.RawConfigParser()
    for name, value in _pip_options():
        section, _dot, option = name.partition(".")
        if not parser.has_section(section):
            parser.add_section(section)
        parser.set(section, option, value)
    written = io.StringIO()
    parser.write(written)
    return written.getvalue().encode()


@functools.cache
def _pip_options() -> list[tuple[str, str]]:
    """Return names like `global.index-url` with their values, without those of the environment."""
    lines = _printed(sys.executable, "-m", "pip", "config", "list").splitlines()
    named = [line.partition("=") for line in lines if not line.startswith(":env:")]
    return [(name, ast.literal_eval(value)) for name, _equals, value in named]


def _apt_configuration() -> bytes:
    lines = _printed("apt-config", "dump").splitlines()
    return "".join(f"{line}\n" for line in lines if APT_OPTION.match(line)).encode()


def _printed(*command: str) -> str:
    """Return what a command prints; nothing if it fails, as pip does where it is not installed."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
