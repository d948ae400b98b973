"""Whose certificates are trusted: those of the system's store, as pip has it."""

import ssl

import truststore


class SystemStore(truststore.SSLContext):
    """Trusts what the system does; SSL_CERT_FILE and SSL_CERT_DIR, where they are set, go before.

    Like pip's, and unlike that of Python 3.13, it takes authorities whose certificates lack what
    RFC 5280 wants of them: those of companies often do.
    """

    @property
    def verify_flags(self) -> ssl.VerifyFlags:
        return super().verify_flags

    @verify_flags.setter
    def verify_flags(self, flags: ssl.VerifyFlags) -> None:
        wanted = flags & ~ssl.VERIFY_X509_STRICT
        truststore.SSLContext.verify_flags.__set__(self, wanted)  # type: ignore[attr-defined]


def trust_the_system() -> None:
    """Have the libraries that are imported from now on do so, in a process that is ours alone."""
    ssl.SSLContext = SystemStore  # type: ignore[misc, assignment]
