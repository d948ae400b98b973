"""Whose certificates are trusted: those of the system's store, as pip has it.

Unless the environment names others, by the variables that each client knows.
"""

import os
import ssl
from typing import Any

import truststore
from pypi_simple import PyPISimple
from requests.adapters import HTTPAdapter

UV_TRUSTS = {"UV_SYSTEM_CERTS": "1"}
"""What uv is told. Where SSL_CERT_FILE or SSL_CERT_DIR is set it takes that instead."""

RUN_TRUSTING = (
    "import runpy, sys, truststore; truststore.inject_into_ssl();"
    " runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""A program for `python -c` that runs the module named first: libraries in it trust as we do."""

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Where one is set requests trusts that file or folder, and nothing else."""


def open_client(index_url: str) -> PyPISimple:
    """Return a client of a package index, to be closed. Its own store would be certifi's."""
    client = PyPISimple(index_url)
    if not any(os.environ.get(name) for name in _BUNDLES):
        client.s.mount("https://", _SystemStore())
    return client


class _SystemStore(HTTPAdapter):
    """Trusts what the system does, also on the way through a proxy.

    truststore reads SSL_CERT_FILE and SSL_CERT_DIR, and knows where each Linux has its store.
    """

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=_context())

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=_context())


def _context() -> ssl.SSLContext:
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
