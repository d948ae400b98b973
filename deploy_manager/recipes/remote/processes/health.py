"""The health check: request a URL of the site until it answers as expected.

The URL is http://host:port/path, or http://unix:/path:/uri for a socket file. The maintenance page
is bypassed, redirects are not followed. Only this server itself is asked: what else it can reach,
as the metadata of a cloud, is none of the site's, and would be sent the secret of the bypass.
"""

from __future__ import annotations

import http
import http.client
import ipaddress
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from .place import Place, read
from .supervisors import ServingError

PAUSE_SECONDS = 0.25
SHORTEST_SECONDS = 0.5
LONGEST_SECONDS = 10.0
MANY, AT_ONCE = 60, 6
MOST_BYTES = 4 * 1024 * 1024
SHOWN_CHARACTERS = 200


class SocketFileConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connection_to(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection and the path to request."""
    through_file = re.match(r"http://unix:(/[^:]+):(/.*)\Z", url)
    if through_file:
        return SocketFileConnection(through_file.group(1), timeout), through_file.group(2)
    found = re.match(r"http://([^/]+)(/.*)?\Z", url)
    if not found:
        raise ServingError(
            f"{url} can't be requested: write http://host:port/path or http://unix:/path:/uri."
        )
    named = http.client.HTTPConnection(found.group(1), timeout=timeout)
    return OwnConnection(named), found.group(2) or "/"


class OwnConnection(http.client.HTTPConnection):
    """HTTP to this server itself, with the Host header of the name that was asked for."""

    def __init__(self, named: http.client.HTTPConnection) -> None:
        super().__init__(named.host, named.port, timeout=named.timeout)

    def connect(self) -> None:
        """Raises ServingError if the name is not this server's, OSError if nobody answers."""
        # By addresses, of which each was looked at: the name could lead elsewhere by now.
        *others, last = own_addresses(self.host, self.port)
        for address in others:
            with suppress(OSError):
                self.sock = socket.create_connection((address, self.port), self.timeout)
                return
        self.sock = socket.create_connection((last, self.port), self.timeout)


def own_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host name that are this server's own. Raises ServingError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServingError(f"{host} has no address here: {error.strerror}.") from None
    own = [str(each[4][0]) for each in found if is_own_address(each[0], str(each[4][0]))]
    if not own:
        raise ServingError(
            f"{host} is not this server: only its own addresses are asked. Correct the address"
            " that is asked in the environment."
        )
    return own


def is_own_address(family: int, address: str) -> bool:
    """Whether the kernel delivers to this machine what is sent to an address."""
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    # Nothing is sent: this only asks which address it would be sent from, which for one of our
    # own is that address. To try to bind it would not do where net.ipv4.ip_nonlocal_bind is set.
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((address, 9))
        except OSError:
            return False
        return str(asked.getsockname()[0]) == address


def await_health(place: Place, facts: dict[str, Any], is_named: bool) -> None:
    """Wait until the site answers as expected. Raises ServingError with the last answer.

    `is_named` says that the answer has to name the current release: what serves is ours.
    """
    deadline = time.monotonic() + facts["deadline"]
    print(f"Asking {facts['url']}", flush=True)
    shown = ""
    while True:
        left = deadline - time.monotonic()
        timeout = min(LONGEST_SECONDS, max(SHORTEST_SECONDS, left))
        is_well, seen = _ask(place, facts, is_named, timeout)
        if seen != shown:
            print(seen, flush=True)
            shown = seen
        if is_well:
            return
        if time.monotonic() + PAUSE_SECONDS > deadline:
            within = f"within {facts['deadline']:g} seconds"
            raise ServingError(f"{facts['url']} did not pass {within}. {seen}")
        time.sleep(PAUSE_SECONDS)


def why_not_all(place: Place, facts: dict[str, Any]) -> str:
    """Return what one of many requests at once got that is not as expected; blank if none did."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(_ask, place, facts, True, LONGEST_SECONDS) for _ in range(MANY)]
        seen = [each.result() for each in asked]
    return next((said for is_well, said in seen if not is_well), "")


def why_no_answer(url: str, timeout: float) -> str:
    """Return why a URL is not answered well; blank if it is. Raises ServingError for no URL."""
    connection, path = connection_to(url, timeout)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {error or type(error).__name__}."
    finally:
        connection.close()
    return f"{url} answers with status {status}." if status >= http.HTTPStatus.BAD_REQUEST else ""


def _ask(place: Place, facts: dict[str, Any], is_named: bool, timeout: float) -> tuple[bool, str]:
    """Send one request; return whether the check passed, and a description of the answer."""
    connection, path = connection_to(facts["url"], timeout)
    try:
        connection.request("GET", path, headers=_headers(place, facts))
        answer = connection.getresponse()
        text = answer.read(MOST_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"No answer: {error or type(error).__name__}."
    finally:
        connection.close()
    seen = f"Status {answer.status}"
    if answer.status != facts["status"]:
        to = f" to {answer.getheader('Location')}" if answer.getheader("Location") else ""
        return False, f"{seen}{to} where {facts['status']} is expected.{_hint(answer.status)}"
    if facts["text"] not in text:
        # In whole words: one that was cut could be a secret, of which only a part is not known.
        start = " ".join(text.split())
        if len(start) > SHOWN_CHARACTERS:
            start = f"{start[:SHOWN_CHARACTERS].rpartition(' ')[0]} …".strip()
        return False, f"{seen}, but the text {facts['text']!r} is not in it: {start}"
    serving, wanted = answer.getheader("X-Deploy-Release"), place.release
    if serving == wanted:
        return True, f"{seen}, from release {wanted}."
    if serving or is_named:
        return False, f"{seen}, from release {serving or 'unknown'} where {wanted} is current."
    return True, f"{seen}."


def _headers(place: Place, facts: dict[str, Any]) -> dict[str, str]:
    # As a web server in front would set it; otherwise SECURE_SSL_REDIRECT answers with a redirect.
    headers = {
        "User-Agent": "deploy_manager",
        "Connection": "close",
        "X-Forwarded-Proto": "https",
    }
    if facts["host_header"]:
        headers["Host"] = facts["host_header"]
    secret = read(os.path.join(place.tools, "bypass")).decode().strip()
    return {**headers, "X-Maintenance-Bypass": secret} if secret else headers


def _hint(status: int) -> str:
    """The likely cause of a status that Django does not explain."""
    if status == http.HTTPStatus.BAD_REQUEST:
        return " Check that the Host header is one of the site's ALLOWED_HOSTS."
    return ""
