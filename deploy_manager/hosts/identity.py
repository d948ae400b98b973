"""The keys that this installation logs in with: which file, how it is read, its public part."""

from pathlib import Path

import paramiko
from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import HostUnreachable
from deploy_manager.hosts.address import Address

NO_KEY = _(
    "No key to log in with is configured: in DEPLOY_MANAGER, set SSH_KEY_FILE to the path of a"
    " private key, or SSH_AGENT to True."
)


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
                "%(setting)s %(path)s is not a usable private key: %(error)s. A "
                "key with a passphrase works only through an agent (SSH_AGENT)."
            ),
            setting=setting,
            path=path,
            error=error,
        ) from error


def public_key() -> str:
    """Return the public key that accounts on servers have to let in: `ssh-ed25519 AAAA…`.

    Raises HostUnreachable if there is none, or if an agent has several.
    """
    conf = get_settings()
    if conf.SSH_KEY_FILE is not None:
        key = read_private_key("SSH_KEY_FILE", conf.SSH_KEY_FILE)
        return f"{key.get_name()} {key.get_base64()}"
    known = paramiko.Agent().get_keys() if conf.SSH_AGENT else ()
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
