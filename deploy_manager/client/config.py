"""Which manager is asked, and by which token: environment variables, or what `login` has stored."""

import ipaddress
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import platformdirs
import tomli_w

from deploy_manager.client.exits import Refused

URL, TOKEN = "DEPLOY_MANAGER_URL", "DEPLOY_MANAGER_TOKEN"
USUAL = "default"
"""The name of a manager that nobody has named."""


@dataclass(frozen=True)
class Manager:
    """A manager, and who asks it."""

    url: str
    """Ends with a slash: `api/v1/` follows."""

    token: str = field(default="", repr=False)
    ca_file: str = ""
    """What its certificate is verified by, instead of the system's store."""

    insecure: bool = False
    """Whether the token may go there without encryption."""


def config_file() -> Path:
    return platformdirs.user_config_path("deploy-manager") / "config.toml"


def find_manager(name: str, environ: Mapping[str, str] = os.environ) -> Manager:
    """Return the manager of this name; without one, that of the variables, else the stored one.

    Raises Refused.
    """
    if not name and (url := environ.get(URL)):
        if not (token := environ.get(TOKEN, "").strip()):
            raise Refused(f"{URL} is set, but {TOKEN} is not: set both.")
        return Manager(read_url(url), read_token(token))
    stored = read_managers()
    if found := stored.get(name or USUAL):
        return replace(found, token=read_token(found.token))
    if name:
        known = ", ".join(stored) or "none"
        raise Refused(f"There is no manager {name!r} here, but: {known}. Add it by `login`.")
    raise Refused(f"Log in first: deploy-manager login. Or set {URL} and {TOKEN}.")


def read_token(text: str) -> str:
    """Return a token as it was pasted. Raises Refused for what is none, and does not show it.

    What can't be sent in a header would be shown in the error of whoever tries.
    """
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Refused("That is no token: it begins with dm_, and the manager shows it once.")
    return token


def read_url(text: str) -> str:
    """Return the address of a manager in the form that paths are added to. Raises Refused."""
    try:
        parts = urlsplit(text.strip())
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # it raises for what is no port
    except ValueError:
        is_one = False
    if not is_one:
        raise Refused(f"{text!r} is no address: write one like https://manager.example.org/deploy/")
    if parts.username or parts.password:
        raise Refused("The address may not contain a login: the token is the login.")
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/", "", ""))


def check_secrecy(manager: Manager) -> None:
    """Refuse to send a token unencrypted to another machine. Raises Refused."""
    parts = urlsplit(manager.url)
    is_open = parts.scheme == "http" and not _is_loopback(parts.hostname or "")
    if is_open and not manager.insecure:
        raise Refused(
            f"{manager.url} is not encrypted: everybody on the way could read the token. Use"
            " https://, or add --insecure if the way there is safe."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_managers() -> dict[str, Manager]:
    """Return what is stored, by name. Raises Refused."""
    path = config_file()
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise Refused(f"Other accounts may read the tokens in {path}: chmod 600 {path}")
            stored = tomllib.load(file).get("managers", {})
        return {name: Manager(**values) for name, values in stored.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise Refused(f"{path} can't be understood: {error}. Correct it, or remove it.") from error


def store(name: str, manager: Manager) -> Path:
    """Keep a manager under a name; return the file. Raises Refused."""
    if manager.ca_file:
        manager = replace(manager, ca_file=str(Path(manager.ca_file).absolute()))
    return _write({**read_managers(), (name or USUAL): manager})


def forget(name: str) -> bool:
    """Remove a manager; return whether it was there. Raises Refused."""
    stored = read_managers()
    if stored.pop(name or USUAL, None) is None:
        return False
    _write(stored)
    return True


def _write(managers: Mapping[str, Manager]) -> Path:
    """Replace the file, which only this account may read, at no moment otherwise."""
    path = config_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Of mode 0600 from the beginning.
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        with os.fdopen(handle, "wb") as file:
            tables = {name: _as_table(each) for name, each in managers.items()}
            tomli_w.dump({"managers": tables}, file)
        Path(beside).replace(path)
    except OSError as error:
        raise Refused(f"{path} can't be written: {error.strerror}.") from error
    return path


def _as_table(manager: Manager) -> dict[str, Any]:
    return {name: value for name, value in vars(manager).items() if value}
