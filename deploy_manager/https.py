"""HTTP with certificates trusted as the system trusts them: the one way to a client of requests."""

import os
import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import deploy_manager
from deploy_manager.trust import SystemStore

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""If one is set, requests trusts that file or folder, and nothing else."""


def open_session(retries: Retry | None = None) -> requests.Session:
    """Return a session, to be closed. Of itself it would trust certifi's list.

    Without `retries` nothing is tried again.
    """
    session = requests.Session()
    session.headers["User-Agent"] = f"deploy-manager/{deploy_manager.__version__}"
    has_bundle = any(os.environ.get(name) for name in _BUNDLES)
    # A plain context trusts nobody yet: requests loads the bundle into it.
    kind = ssl.SSLContext if has_bundle else SystemStore
    session.mount("https://", _Trusting(kind(ssl.PROTOCOL_TLS_CLIENT), retries))
    session.mount("http://", HTTPAdapter(max_retries=retries or 0))
    return session


class _Trusting(HTTPAdapter):
    """Verifies by a context, also on the way through a proxy."""

    def __init__(self, context: ssl.SSLContext, retries: Retry | None) -> None:
        self._context = context
        super().__init__(max_retries=retries or 0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)
