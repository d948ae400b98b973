"""Private keys as texts: read with their passphrase, made anew, and what of them may be shown."""

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import KeyUnusable
from deploy_manager.sealing import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.ssh import SSHCertificate

LEAST_RSA_BITS = 2048


@dataclass(frozen=True)
class PrivateKey:
    """A private key that was opened."""

    plain: Secret
    """Without a passphrase, as OpenSSH writes it."""

    public_line: str
    """Like `ssh-ed25519 AAAA…`."""


def read_private_key(text: Secret, passphrase: Secret | None = None) -> PrivateKey:
    """Return the key in a text, of OpenSSH or PEM. Raises KeyUnusable."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    given = passphrase.value.encode() if passphrase and passphrase.value else None
    key = _load(text.value.strip().encode() + b"\n", given)
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < LEAST_RSA_BITS:
        raise KeyUnusable(
            _("An RSA key of %(bits)d bits is too short: use ssh-ed25519."), bits=key.key_size
        )
    known = (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)
    if not isinstance(key, known):
        raise KeyUnusable(_("This kind of private key is not supported: use ssh-ed25519."))
    return _as_openssh(key)


def make_private_key() -> PrivateKey:
    """Return a new ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric import ed25519

    return _as_openssh(ed25519.Ed25519PrivateKey.generate())


def _as_openssh(key: Any) -> PrivateKey:
    from cryptography.hazmat.primitives import serialization

    plain = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return PrivateKey(Secret(plain.decode()), public_line(key.public_key()))


def public_line(key: Any) -> str:
    """Return a public key of cryptography's as OpenSSH writes it."""
    from cryptography.hazmat.primitives import serialization

    text: bytes = key.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return text.decode()


def _load(data: bytes, passphrase: bytes | None) -> Any:
    from cryptography.hazmat.primitives import serialization

    for load in (serialization.load_ssh_private_key, serialization.load_pem_private_key):
        try:
            return load(data, passphrase)
        except TypeError as error:
            # cryptography's way to say that a passphrase is missing, or that none is needed.
            if passphrase is None:
                raise KeyUnusable(_("The private key needs a passphrase: enter it.")) from error
            return _load(data, None)
        # Its parsers raise many kinds of errors: what is wrong is said below.
        except Exception:  # noqa: S112  # nosec B112
            continue
    # Only whether it looks like one is told: the text may be a secret of another kind.
    if b"PRIVATE KEY-----" in data and passphrase is not None:
        raise KeyUnusable(
            _("The passphrase is not that of the private key, or the key is damaged.")
        )
    raise KeyUnusable(
        _("This is not a private key: paste the whole file, with its first and last line.")
    )


def fingerprint_of(line: str) -> str:
    """Return the fingerprint of a public key line, as ssh-keygen prints it; blank if it is none."""
    try:
        blob = base64.b64decode(line.split()[1], validate=True)
    except (IndexError, ValueError):
        return ""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def check_user_certificate(line: str, public: str) -> None:
    """Raise KeyUnusable unless a line is a certificate of a user, for this public key if given."""
    certificate = read_certificate(line)
    if certificate.type.name != "USER":
        raise KeyUnusable(_("This is the certificate of a host: enter one of a user."))
    signed = public_line(certificate.public_key())
    if public and signed.split()[:2] != public.split()[:2]:
        raise KeyUnusable(_("The certificate is not for this key: have this public key signed."))


def read_certificate(line: str) -> "SSHCertificate":
    """Return the certificate in a line. Raises KeyUnusable, also if its signature is wrong."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization.ssh import SSHCertificate

    try:
        read = serialization.load_ssh_public_identity(line.strip().encode())
        if isinstance(read, SSHCertificate):
            read.verify_cert_signature()
            return read
    # Its parsers raise many kinds of errors: what is wrong is said below.
    except Exception:  # noqa: S110  # nosec B110
        pass
    raise KeyUnusable(
        _("This is not a certificate: paste the line of the file that ends with -cert.pub.")
    )
