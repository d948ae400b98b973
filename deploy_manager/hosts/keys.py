"""Host keys: read a pinned one, show its fingerprint as OpenSSH does."""

import base64
import binascii
from dataclasses import dataclass

import paramiko
from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
"""How a host proves that it has an RSA key (RFC 8332). The older way, by SHA-1, is refused."""


AUTHORITY = "@cert-authority"
"""In front of a key that signs the keys of hosts, as in known_hosts."""


@dataclass(frozen=True)
class HostKey:
    """A server's public key, as it is pinned and as people compare it."""

    line: str
    """Like `ssh-ed25519 AAAA…`."""

    fingerprint: str
    """Like `SHA256:…`, the same as `ssh-keygen -lf` prints."""


def fingerprint(line: str) -> str:
    """Return the fingerprint of a public key line. Raises ValueError if it is not one.

    Of authorities it is those of their keys.
    """
    if is_authority(line):
        keys = (each.strip().removeprefix(AUTHORITY) for each in line.strip().splitlines())
        return ", ".join(f"{AUTHORITY} {read_line(key).fingerprint}" for key in keys)
    return str(read_line(line).fingerprint)


def is_authority(line: str) -> bool:
    """Whether a pinned line names an authority, not the key of one host."""
    return line.lstrip().startswith(f"{AUTHORITY} ")


def read_line(line: str) -> paramiko.PKey:
    """Return the key of a line `type base64 [comment]`. Raises ValueError if it is not one."""
    fields = line.split()
    if len(fields) < 2:
        raise ValueError(Message(_("A host key looks like “ssh-ed25519 AAAA…”.")))
    try:
        blob = base64.b64decode(fields[1], validate=True)
        key = paramiko.PKey.from_type_string(fields[0], blob)
    except paramiko.pkey.UnknownKeyType:
        raise ValueError(
            Message(_("%(fields)s is not a known type of host key."), fields=fields[0])
        ) from None
    except (binascii.Error, ValueError, IndexError, paramiko.SSHException):
        raise ValueError(
            Message(_("This is not a public key of type %(fields)s."), fields=fields[0])
        ) from None
    # paramiko ignores bytes after the key: without this, one key could be pinned as many lines.
    if key.get_name() != fields[0] or key.asbytes() != blob:
        raise ValueError(
            Message(_("This is not a public key of type %(fields)s."), fields=fields[0])
        )
    return key


def host_key_of(key: paramiko.PKey) -> HostKey:
    return HostKey(f"{key.get_name()} {key.get_base64()}", str(key.fingerprint))


def algorithms_of(key: paramiko.PKey) -> tuple[str, ...]:
    """Return the ways a host may prove that it has this key."""
    name = key.get_name()
    return RSA_SIGNATURES if name == "ssh-rsa" else (name,)
