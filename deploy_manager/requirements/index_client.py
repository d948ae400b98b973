"""Speaking with a package index, whose certificate is trusted as the system does."""

from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from pypi_simple import PyPISimple
from requests import PreparedRequest
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_netrc_auth

from deploy_manager.https import open_session
from deploy_manager.logins import login_of_index
from deploy_manager.masking import masking
from deploy_manager.sealing import Secret


class _OnlyThere(AuthBase):
    """Sends a user and a password to one host only: an index may list files of others."""

    def __init__(self, host: str, user: str, password: Secret) -> None:
        self.password = password
        self._host = host
        self._basic = HTTPBasicAuth(user.encode(), password.value.encode())

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        url = request.url or ""
        if (urlsplit(url).hostname or "").lower() == self._host:
            return self._basic(request)
        # What requests itself does where it is given no login.
        known = get_netrc_auth(url)
        return HTTPBasicAuth(*known)(request) if known else request


def open_client(index_url: str) -> PyPISimple:
    """Return a client of a package index, to be closed.

    Raises SecretUnreadable and ConfigurationError if its login can't be opened here.
    """
    login = login_of_index(index_url)
    auth = _OnlyThere(login.host, login.user, login.open()) if login else None
    return PyPISimple(str(index_url), auth=auth, session=open_session())


def login_masked(client: PyPISimple) -> AbstractContextManager[None]:
    """Mask what a client logs in with: an index may repeat it, also where no deployment does."""
    auth = client.s.auth
    return masking([auth.password] if isinstance(auth, _OnlyThere) else [])
