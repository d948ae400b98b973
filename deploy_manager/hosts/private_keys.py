"""Private keys as texts: read with their passphrase, made anew, and what of them may be shown."""

import io
from dataclasses import dataclass

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization.ssh import SSHCertificate
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import DeployManagerError
from deploy_manager.hosts.keys import read_line
from deploy_manager.sealing import Secret

LEAST_RSA_BITS = 2048

_KINDS: tuple[tuple[type, type[paramiko.PKey]], ...] = (
    (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
    (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
    (rsa.RSAPrivateKey, paramiko.RSAKey),
)


class KeyUnusable(DeployManagerError):
    """A private key, its passphrase or its certificate can't be used; the message has none."""


@dataclass(frozen=True)
class PrivateKey:
    """A private key that was opened."""

    pkey: paramiko.PKey

    plain: Secret
    """The same without a passphrase, as OpenSSH writes it."""

    @property
    def public_line(self) -> str:
        return f"{self.pkey.get_name()} {self.pkey.get_base64()}"


def read_private_key(text: Secret, passphrase: Secret | None = None) -> PrivateKey:
    """Return the key in a text, of OpenSSH or PEM. Raises KeyUnusable."""
    given = passphrase.value.encode() if passphrase and passphrase.value else None
    loaded = _load(text.value.strip().encode() + b"\n", given)
    plain = loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    for kind, pkey in _KINDS:
        if isinstance(loaded, kind):
            if isinstance(loaded, rsa.RSAPrivateKey) and loaded.key_size < LEAST_RSA_BITS:
                raise KeyUnusable(
                    _("An RSA key of %(bits)d bits is too short: use ssh-ed25519."),
                    bits=loaded.key_size,
                )
            return PrivateKey(pkey.from_private_key(io.StringIO(plain)), Secret(plain))
    raise KeyUnusable(_("This kind of private key is not supported: use ssh-ed25519."))


def _load(data: bytes, passphrase: bytes | None) -> object:
    errors = []
    for load in (serialization.load_ssh_private_key, serialization.load_pem_private_key):
        try:
            return load(data, passphrase)
        except TypeError as error:
            # cryptography's way to say that a passphrase is missing, or that none is needed.
            if passphrase is None:
                raise KeyUnusable(_("The private key needs a passphrase: enter it.")) from error
            return _load(data, None)
        except Exception as error:  # its parsers raise many kinds, and may quote what they read
            errors.append(str(error))
    # Only whether it is one is looked at: the text itself may be a secret of another kind.
    if b"PRIVATE KEY-----" in data and passphrase is not None:
        raise KeyUnusable(_("The passphrase is not that of the private key, or the key is damaged."))
    raise KeyUnusable(
        _("This is not a private key: paste the whole file, with its first and last line.")
    )


def make_private_key() -> PrivateKey:
    """Return a new ed25519 key."""
    text = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return read_private_key(Secret(text.decode()))


def check_user_certificate(line: str, public_line: str) -> None:
    """Raise KeyUnusable unless a line is a certificate of a user for this public key."""
    certificate = read_certificate(line)
    if certificate.type.name != "USER":
        raise KeyUnusable(_("This is the certificate of a host: enter one of a user."))
    signed = certificate.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    if public_line and signed.decode().split()[:2] != public_line.split()[:2]:
        raise KeyUnusable(_("The certificate is not for this key: have this public key signed."))


def read_certificate(line: str) -> SSHCertificate:
    """Return the certificate in a line. Raises KeyUnusable, also if its signature is wrong."""
    try:
        read = serialization.load_ssh_public_identity(line.strip().encode())
        if isinstance(read, SSHCertificate):
            read.verify_cert_signature()
            return read
    except Exception:  # noqa: S110  its parsers raise many kinds; what is wrong is said below
        pass
    raise KeyUnusable(
        _("This is not a certificate: paste the line of the file that ends with -cert.pub.")
    )


def comparable(line: str) -> str:
    """Return a public key line without its comment. Raises ValueError if it is none."""
    key = read_line(line)
    return f"{key.get_name()} {key.get_base64()}"
