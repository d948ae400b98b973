"""A certificate authority of the tests' own, which the system's store knows or does not."""

import ctypes
import ipaddress
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.parts.index import Index

STORE = "/etc/ssl/certs"
"""Where Debian has its store; every other program looks there too."""

CLONE_NEWNS = 0x00020000
Result = TypeVar("Result")


@dataclass(frozen=True)
class Authority:
    """Vouches for 127.0.0.1."""

    store: Path
    """A folder as the system has its own, with the certificate of this authority alone."""

    server: ssl.SSLContext
    """What a server on 127.0.0.1 speaks TLS with."""

    @property
    def bundle(self) -> Path:
        return self.store / "ca-certificates.crt"

    @property
    def server_file(self) -> Path:
        """The key and the certificate of a server on 127.0.0.1, for a program of its own."""
        return self.store.parent / "server.pem"

    def known_to_the_system(self, work: Callable[[], Result]) -> Result:
        """Do something while the system's store knows this authority, and no other.

        In a thread of its own, which sees its own mounts; so do the threads and processes that it
        starts. All is as before when the thread ends.
        """
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._mount_and, work).result()

    def _mount_and(self, work: Callable[[], Result]) -> Result:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "no mounts of our own")
        for words in (["--make-rprivate", "/"], ["--bind", str(self.store), STORE]):
            subprocess.run(["mount", *words], check=True)
        return work()


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signing: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> bytes:
    subject, by = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, isinstance(extension, x509.BasicConstraints))
    made = builder.sign(signing, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    store = folder / "store"
    store.mkdir()
    store.chmod(0o755)
    name, key, server_key = "A company", *(ec.generate_private_key(ec.SECP256R1()) for _ in "ab")
    # No key usage, as many a company's: of itself Python 3.13 would not take it.
    vouches = x509.BasicConstraints(ca=True, path_length=None)
    bundle = store / "ca-certificates.crt"
    bundle.write_bytes(_certificate(name, key, name, key, vouches))
    subprocess.run(["openssl", "rehash", str(store)], check=True)
    place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    served = folder / "server.pem"  # as `server_file` has it
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    served.write_bytes(
        server_key.private_bytes(pem, private, serialization.NoEncryption())
        + _certificate("127.0.0.1", server_key, name, key, place)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(served)
    return Authority(store, context)


@pytest.fixture
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out of the environment what says whom to trust, where packages are, and by what way."""
    for name in [*os.environ]:
        if "CERT" in name or "CA_BUNDLE" in name or "proxy" in name.lower():
            monkeypatch.delenv(name)
        if name.startswith(("PIP_", "UV_")) and name in os.environ:
            monkeypatch.delenv(name)


@pytest.fixture
def tls_index(authority: Authority) -> Iterator[Index]:
    """A package index for whose certificate only `authority` vouches."""
    with Index() as index:
        index.speak_tls(authority.server)
        index.add("shopkit", "1.0")
        yield index
