"""Speaking with a package index, whose certificate is trusted as the system does."""

import os
import ssl
from typing import Any

from pypi_simple import PyPISimple
from requests.adapters import HTTPAdapter

from deploy_manager.trust import SystemStore

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Where one is set requests trusts that file or folder, and nothing else."""


def open_client(index_url: str) -> PyPISimple:
    """Return a client of a package index, to be closed. Of itself it would trust certifi's list."""
    client = PyPISimple(index_url)
    is_told = any(os.environ.get(name) for name in _BUNDLES)
    kind = ssl.SSLContext if is_told else SystemStore
    client.s.mount("https://", _Trusting(kind(ssl.PROTOCOL_TLS_CLIENT)))
    return client


class _Trusting(HTTPAdapter):
    """Verifies by a context, also on the way through a proxy."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)
