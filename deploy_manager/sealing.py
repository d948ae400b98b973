"""Secrets at rest: sealed with a public key that every process may have, opened with a private one.

A process that only writes secrets, as the web server's, needs no key that reads them: each value
is a sealed box of libsodium for the public key, and only the worker has the file with the private
keys. The first key of that file is the current one; older ones open what is not sealed anew yet.
"""

import binascii
import hashlib
import os
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError, SecretUnreadable
from deploy_manager.messages import Message

if TYPE_CHECKING:
    from nacl.public import PrivateKey, PublicKey

FORMAT = "sealed1"
MOST_BYTES = 64 * 1024
"""Of one secret: more than any key or certificate needs."""

NOT_SEALED = _("A secret is not sealed: it was written around the app. Enter it again.")

HOW = Message(
    _(
        "Make the keys by “manage.py secrets_key”: the worker gets SECRETS_KEY_FILE, the web server"
        " SECRETS_PUBLIC_KEY."
    )
)


@dataclass(frozen=True)
class Secret:
    """A value that prints as [masked]; `value` has it."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "[masked]" if self.value else ""

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"


@dataclass(frozen=True)
class Sealed:
    """A secret as a row has it: unreadable, and known by its fingerprint."""

    key_id: str
    """Which key opens it."""

    fingerprint: str
    """New with each value that is entered, and the same after keys were rotated: random, so that
    it tells nothing of the value."""

    box: str = field(repr=False)

    @classmethod
    def read(cls, text: str) -> "Sealed":
        """Return what a row has. Raises SecretUnreadable if it is not a sealed value."""
        head, *parts = text.split(":")
        if head != FORMAT or len(parts) != 3 or not all(parts):
            # Never the text itself: somebody may have written a secret there in plain.
            raise SecretUnreadable(NOT_SEALED)
        return cls(*parts)

    @classmethod
    def stored(cls, text: str) -> "Sealed":
        """Return what a row has, also if that is not sealed: then it can't be opened or stored."""
        try:
            return cls.read(text)
        except SecretUnreadable:
            return cls("", "", "")

    @property
    def text(self) -> str:
        return ":".join((FORMAT, self.key_id, self.fingerprint, self.box))

    @property
    def is_current(self) -> bool:
        """Whether the current key has sealed it. Raises ConfigurationError."""
        return self.key_id == id_of(current_public_key())

    def open(self) -> Secret:
        """Return the value. Raises SecretUnreadable, ConfigurationError; for the worker only."""
        if not self.key_id:
            raise SecretUnreadable(NOT_SEALED)
        from nacl.exceptions import CryptoError
        from nacl.public import SealedBox

        for key in private_keys():
            if id_of(key.public_key) == self.key_id:
                try:
                    box = b64decode(self.box, validate=True)
                    return Secret(SealedBox(key).decrypt(box).decode())
                except (CryptoError, ValueError):
                    raise SecretUnreadable(
                        _("A secret (%(fingerprint)s) is damaged: enter it again."),
                        fingerprint=self.fingerprint,
                    ) from None
        raise SecretUnreadable(
            _(
                "A secret (%(fingerprint)s) needs the key %(key)s, which the file of"
                " SECRETS_KEY_FILE does not have: add it there, or enter the secret again."
            ),
            fingerprint=self.fingerprint,
            key=self.key_id,
        )

    def sealed_anew(self) -> "Sealed":
        """Return the same value, sealed with the current key. Raises as `open` does."""
        return _seal(self.open(), self.fingerprint)


def seal(secret: Secret) -> Sealed:
    """Seal a value for the current key. Raises ConfigurationError if there is none."""
    return _seal(secret, secrets.token_hex(4))


def _seal(secret: Secret, fingerprint: str) -> Sealed:
    from nacl.public import SealedBox

    # No local variable has it in plain: reports of errors show those.
    if len(secret.value.encode()) > MOST_BYTES:
        raise ConfigurationError(
            _("A secret has at most %(most)d bytes; this one has more."), most=MOST_BYTES
        )
    key = current_public_key()
    box = b64encode(SealedBox(key).encrypt(secret.value.encode())).decode()
    return Sealed(id_of(key), fingerprint, box)


def id_of(key: "PublicKey") -> str:
    """Return the name of a key, which may be shown."""
    return hashlib.sha256(bytes(key)).hexdigest()[:8]


def current_public_key() -> "PublicKey":
    """Return the key that seals: that of the setting, or of the file. Raises ConfigurationError."""
    from nacl.public import PublicKey

    if text := get_settings().SECRETS_PUBLIC_KEY:
        return PublicKey(_bytes_of(text, "SECRETS_PUBLIC_KEY"))
    return private_keys()[0].public_key


def private_keys() -> "list[PrivateKey]":
    """Return the keys of the file, the current one first. Raises ConfigurationError."""
    from nacl.public import PrivateKey

    path = get_settings().SECRETS_KEY_FILE
    if path is None:
        raise ConfigurationError(_("No key for secrets is configured. %(how)s"), how=HOW)
    try:
        lines = path.read_text().split("\n")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            _("SECRETS_KEY_FILE %(path)s can't be read: %(error)s. %(how)s"),
            path=path,
            error=getattr(error, "strerror", None) or type(error).__name__,
            how=HOW,
        ) from None
    texts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not texts:
        raise ConfigurationError(_("SECRETS_KEY_FILE %(path)s has no key."), path=path)
    return [PrivateKey(_bytes_of(text, "SECRETS_KEY_FILE")) for text in texts]


def add_key(path: Path) -> "PublicKey":
    """Put a new key before those of a file, which is made if need be; return its public part.

    Raises OSError. The file is replaced by a rename: it is never there in part.
    """
    from nacl.public import PrivateKey

    key = PrivateKey.generate()
    before = path.read_text() if path.exists() else ""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{b64encode(bytes(key)).decode()}\n{before}")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return key.public_key


def public_text(key: "PublicKey") -> str:
    """Return a public key as the setting SECRETS_PUBLIC_KEY has it."""
    return b64encode(bytes(key)).decode()


def _bytes_of(text: str, setting: str) -> bytes:
    from nacl.public import PrivateKey

    try:
        key = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != PrivateKey.SIZE:
        raise ConfigurationError(_("%(setting)s is not a key. %(how)s"), setting=setting, how=HOW)
    return key
