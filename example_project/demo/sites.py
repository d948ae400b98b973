"""The four sites of the demo: their addresses, and the commits that they serve."""

import http.client
import json
import socket
import urllib.request
from contextlib import closing
from http import HTTPStatus
from urllib.parse import urlsplit

from deploy_manager.models import Environment


class SocketFile(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def addresses(environment: Environment) -> list[tuple[str, str]]:
    """Return the server's name and the address of each site, which may be a socket file."""
    placements = environment.placements.select_related("server", "environment")
    return [(entry.server.name, _address(entry.bind)) for entry in placements]


def _address(bind: str) -> str:
    return bind if bind.startswith("unix:") else f"http://{bind}/"


def health(address: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Return what a site says of its health. Raises OSError, HTTPException if it is not well."""
    seconds = 10
    if address.startswith("unix:"):
        connection: http.client.HTTPConnection = SocketFile(address[5:], seconds)
    else:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=seconds)
    with closing(connection):
        connection.request("GET", "/health/")
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise http.client.HTTPException(f"HTTP status {answer.status}")
        return answer, answer.read()


def problems(environment: Environment, *, everywhere: bool) -> list[str]:
    """Return the problems of the sites; none if each serves the commit of its active release.

    Those on servers without a release count only if all should serve: with `everywhere`.
    """
    found = []
    placements = environment.placements.select_related("server", "environment", "active_release")
    for entry in placements:
        release, address = entry.active_release, _address(entry.bind)
        if release is None and not everywhere:
            continue
        served = _commit_at(address)
        if release is None:
            found.append(f"{entry.server.name} at {address} serves {served}.")
        elif served != release.commit:
            found.append(f"{entry.server.name} at {address} serves {served}, not {release.commit}.")
    return found


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310  our own address
            return True
    except OSError:
        return False


def _commit_at(address: str) -> str:
    try:
        return str(json.loads(health(address)[1])["commit"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return f"nothing ({error})"
