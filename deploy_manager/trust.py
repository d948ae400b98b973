"""Whose certificates are trusted: those of the system's store, as pip has it."""

import ssl

import truststore


class SystemStore(truststore.SSLContext):
    """Trusts what the system trusts; SSL_CERT_FILE and SSL_CERT_DIR take precedence.

    Like pip's, and unlike the default of Python 3.13, it accepts authorities whose certificates
    lack extensions that RFC 5280 requires: those of companies often do.
    """

    @property
    def verify_flags(self) -> ssl.VerifyFlags:
        return super().verify_flags

    @verify_flags.setter
    def verify_flags(self, flags: ssl.VerifyFlags) -> None:
        lenient = flags & ~ssl.VERIFY_X509_STRICT
        truststore.SSLContext.verify_flags.__set__(self, lenient)  # type: ignore[attr-defined]


def trust_the_system() -> None:
    """Make the libraries imported from now on trust it. Only for a process that is ours alone."""
    ssl.SSLContext = SystemStore  # type: ignore[misc, assignment]
