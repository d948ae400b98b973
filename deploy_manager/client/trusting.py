"""Whose certificates are trusted: what the system trusts, or one file."""

import os
import ssl
from pathlib import Path
from typing import Any

import truststore
from requests.adapters import HTTPAdapter

from deploy_manager.client.exits import Refused

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""If one is set, that file or folder is trusted, and nothing else: as many programs have it."""


class Trusting(HTTPAdapter):
    """Verifies by a context alone, also on the way through a proxy."""

    def __init__(self, ca_file: str = "") -> None:
        """Without a file the system's store is trusted. Raises Refused."""
        self._context = _context(ca_file)
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Add nothing to the context: requests would have it trust a list of its own, too."""


class _SystemStore(truststore.SSLContext):
    """Trusts what the system trusts; SSL_CERT_FILE and SSL_CERT_DIR take precedence.

    Unlike the default of Python 3.13, it accepts authorities whose certificates lack extensions
    that RFC 5280 requires: those of companies often do.
    """

    @property
    def verify_flags(self) -> ssl.VerifyFlags:
        return super().verify_flags

    @verify_flags.setter
    def verify_flags(self, flags: ssl.VerifyFlags) -> None:
        lenient = flags & ~ssl.VERIFY_X509_STRICT
        truststore.SSLContext.verify_flags.__set__(self, lenient)  # type: ignore[attr-defined]


def _context(ca_file: str) -> ssl.SSLContext:
    trusted = ca_file or next(filter(None, map(os.environ.get, _BUNDLES)), "")
    if not trusted:
        return _SystemStore(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    kind = "capath" if Path(trusted).is_dir() else "cafile"
    try:
        context.load_verify_locations(**{kind: trusted})
    except OSError as error:  # an SSLError is one
        raise Refused(f"{trusted} can't be read as certificates: {error.strerror}.") from error
    return context
