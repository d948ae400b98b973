"""Host keys that an authority vouches for: certificates of hosts, in place of a pinned key.

paramiko proves that a server has the key of the certificate it presents, and looks no further: who
signed that certificate, for which host and until when is checked here.
"""

import time
from base64 import b64encode
from dataclasses import dataclass

import paramiko
from cryptography.hazmat.primitives.serialization.ssh import SSHCertificateType
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import KeyUnusable
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.keys import AUTHORITY, fingerprint, is_authority, read_line
from deploy_manager.messages import Message
from deploy_manager.private_keys import public_line, read_certificate

_SUFFIX = "-cert-v01@openssh.com"


class NotCertified(paramiko.SSHException):
    """A host has no certificate that its authority would have signed."""

    def __init__(self, why: Message) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(frozen=True)
class Authorities:
    """Public keys that may sign the certificates of a host, without their comments."""

    lines: frozenset[str]


def read(pinned: str) -> Authorities | None:
    """Return the authorities that are pinned; None: a key is. Raises ValueError."""
    if not is_authority(pinned):
        return None
    lines = []
    for line in filter(None, map(str.strip, pinned.splitlines())):
        marked, _space, rest = line.partition(" ")
        if marked != AUTHORITY:
            raise ValueError(
                Message(
                    _("Pin a key or authorities: lines like “@cert-authority ssh-ed25519 AAAA…”.")
                )
            )
        key = read_line(rest)
        lines.append(f"{key.get_name()} {key.get_base64()}")
    return Authorities(frozenset(lines))


class Transport(paramiko.Transport):
    """Takes certificates of host keys only."""

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        return tuple(name for name in super().preferred_keys if name.endswith(_SUFFIX))


class Policy(paramiko.MissingHostKeyPolicy):
    """Lets in hosts whose certificate an authority has signed, for that host and for now."""

    def __init__(self, authorities: Authorities, address: Address) -> None:
        self._authorities = authorities
        self._names = {address.hostname, address.name}

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Raise NotCertified unless the host presents such a certificate."""
        blob = getattr(key, "public_blob", None)
        if blob is None:
            raise NotCertified(Message(_("it presents a key without a certificate.")))
        self._check(f"{blob.key_type} {b64encode(blob.key_blob).decode()}", time.time())

    def _check(self, line: str, now: float) -> None:
        try:
            certificate = read_certificate(line)
        except KeyUnusable:
            raise NotCertified(Message(_("its certificate is damaged."))) from None
        signer = public_line(certificate.signature_key())
        if signer not in self._authorities.lines:
            raise NotCertified(
                Message(
                    _("it is signed by %(signer)s, not by %(pinned)s."),
                    signer=fingerprint(signer),
                    pinned=", ".join(sorted(map(fingerprint, self._authorities.lines))),
                )
            )
        names = {each.decode(errors="replace") for each in certificate.valid_principals}
        # A certificate that names nobody would be good for any host.
        if certificate.type is not SSHCertificateType.HOST or not names & self._names:
            raise NotCertified(
                Message(
                    _("it is for %(names)s, not for %(wanted)s."),
                    names=", ".join(sorted(names)) or "-",
                    wanted=", ".join(sorted(self._names)),
                )
            )
        if certificate.critical_options or not (
            certificate.valid_after <= now < certificate.valid_before
        ):
            raise NotCertified(Message(_("it is not valid now: have a new one signed.")))
