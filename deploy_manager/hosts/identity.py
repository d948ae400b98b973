"""The keys that this installation logs in with: a credential's, or those that settings name."""

import io
from pathlib import Path
from typing import Any

import paramiko
from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import (
    ConfigurationError,
    HostUnreachable,
    KeyUnusable,
    SecretUnreadable,
)
from deploy_manager.hosts.address import Address
from deploy_manager.logins import KeyLogin, explain
from deploy_manager.private_keys import PrivateKey
from deploy_manager.private_keys import read_private_key as read_text

NO_KEY = _(
    "No key to log in with is configured: add an SSH credential in the admin, or in DEPLOY_MANAGER"
    " set SSH_KEY_FILE to the path of a private key, or SSH_AGENT to True."
)


_CLASSES: dict[str, type[paramiko.PKey]] = {
    "ssh-ed25519": paramiko.Ed25519Key,
    "ssh-rsa": paramiko.RSAKey,
}


def identity_of(address: Address) -> dict[str, Any]:
    """Return paramiko's options for what a server is logged in to with. Raises HostUnreachable."""
    if address.login is not None:
        if address.login.key is None:
            return {"allow_agent": True}
        return {"pkey": _pkey_of(address.login), "allow_agent": False}
    name, path = key_setting(address)
    agent = get_settings().SSH_AGENT
    if path is not None:
        return {"pkey": read_private_key(name, path), "allow_agent": agent}
    if not agent:
        raise HostUnreachable(NO_KEY)
    return {"allow_agent": True}


def name_of_key(address: Address) -> str:
    """Return how messages name what a server is logged in to with."""
    return address.login.name if address.login else key_setting(address)[0]


def logins_for(address: Address) -> set[KeyLogin]:
    """Return the keys that are opened on the way to a server, those of its gateways too."""
    gateway = logins_for(address.gateway) if address.gateway and not address.local else set()
    has_key = address.login is not None and address.login.key is not None
    return gateway | {address.login} if has_key and address.login else gateway


def open_key(login: KeyLogin) -> PrivateKey:
    """Return the private key of a login, which has one. Raises HostUnreachable."""
    if login.key is None:
        raise HostUnreachable(NO_KEY)
    try:
        passphrase = login.passphrase.open() if login.passphrase else None
        return read_text(login.key.open(), passphrase)
    except (ConfigurationError, SecretUnreadable) as error:
        raise HostUnreachable(explain(login.name, error)) from None
    except KeyUnusable as error:
        raise HostUnreachable(
            _("The credential %(name)s can't be used: %(error)s"),
            name=login.name,
            error=error.message,
        ) from None


def _pkey_of(login: KeyLogin) -> paramiko.PKey:
    opened = open_key(login)
    kind = opened.public_line.split()[0]
    # An odd kind was refused as it was read; curves of ecdsa are all one class.
    pkey = _CLASSES.get(kind, paramiko.ECDSAKey).from_private_key(io.StringIO(opened.plain.value))
    if login.certificate:
        try:
            pkey.load_certificate(login.certificate)
        except (paramiko.SSHException, ValueError, OSError) as error:
            raise HostUnreachable(
                _("The certificate of the credential %(name)s can't be used: %(error)s"),
                name=login.name,
                error=error,
            ) from None
    return pkey


def key_setting(address: Address) -> tuple[str, Path | None]:
    """Return the setting that names the key for an address, and its file; None: an agent's."""
    conf = get_settings()
    if address.is_bootstrap and conf.BOOTSTRAP_KEY_FILE is not None:
        return "BOOTSTRAP_KEY_FILE", conf.BOOTSTRAP_KEY_FILE
    return "SSH_KEY_FILE", conf.SSH_KEY_FILE


def read_private_key(setting: str, path: Path) -> paramiko.PKey:
    """Return the private key in the file of a setting. Raises HostUnreachable."""
    try:
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise HostUnreachable(
            _("%(setting)s %(path)s can't be read: %(strerror)s."),
            setting=setting,
            path=path,
            strerror=error.strerror,
        ) from error
    except (paramiko.SSHException, ValueError, TypeError, paramiko.pkey.UnknownKeyType) as error:
        raise HostUnreachable(
            _(
                "%(setting)s %(path)s is not a usable private key: %(error)s. A key with a"
                " passphrase works only through an agent (SSH_AGENT), or as a credential."
            ),
            setting=setting,
            path=path,
            error=error,
        ) from error


def public_key(login: KeyLogin | None = None) -> str:
    """Return the public key that accounts on servers have to let in: `ssh-ed25519 AAAA…`.

    Raises HostUnreachable if there is none, or if an agent has several.
    """
    if login is not None and (login.public_key or login.key):
        return login.public_key or open_key(login).public_line
    conf = get_settings()
    if login is None and conf.SSH_KEY_FILE is not None:
        key = read_private_key("SSH_KEY_FILE", conf.SSH_KEY_FILE)
        return f"{key.get_name()} {key.get_base64()}"
    known = paramiko.Agent().get_keys() if login or conf.SSH_AGENT else ()
    if not known:
        raise HostUnreachable(NO_KEY)
    if len(known) > 1:
        # To let all of them in would let in more people than were asked about.
        raise HostUnreachable(
            _(
                "The agent has %(count)d keys, and it is unknown which of them the account shall"
                " let in: set SSH_KEY_FILE in DEPLOY_MANAGER, or leave one in the agent."
            ),
            count=len(known),
        )
    return f"{known[0].get_name()} {known[0].get_base64()}"
