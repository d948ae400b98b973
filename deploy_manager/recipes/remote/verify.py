"""Request a URL of a site until it answers as expected. Runs on the server, Python 3.8 or newer.

Reads JSON: url (http://host:port/path, or http://unix:/path:/uri for a socket file), status, text,
host_header, deadline (seconds), deploy_path, and gunicorn: whether the answer has to come from a
process of the release that `current` points at. If it fails, exits with 1 and the last answer on
stderr.
"""

from __future__ import annotations

import http
import http.client
import json
import os
import re
import socket
import sys
import time
from typing import Any

PAUSE_SECONDS = 0.25
SHORTEST_SECONDS = 0.5
LONGEST_SECONDS = 10.0
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
        sys.exit(
            f"{url} can't be requested: write http://host:port/path or http://unix:/path:/uri."
        )
    return http.client.HTTPConnection(found.group(1), timeout=timeout), found.group(2) or "/"


def look(facts: dict[str, Any], timeout: float) -> tuple[bool, str]:
    """Send one request; return whether the check passed, and a description of the answer."""
    connection, path = connection_to(facts["url"], timeout)
    try:
        connection.request("GET", path, headers=headers_of(facts))
        answer = connection.getresponse()
        text = answer.read(MOST_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"No answer: {error or type(error).__name__}."
    finally:
        connection.close()
    return judge(facts, answer, text)


def headers_of(facts: dict[str, Any]) -> dict[str, str]:
    # As a web server in front would set it; otherwise SECURE_SSL_REDIRECT answers with a redirect.
    headers = {
        "User-Agent": "deploy_manager",
        "Connection": "close",
        "X-Forwarded-Proto": "https",
    }
    if facts["host_header"]:
        headers["Host"] = facts["host_header"]
    secret = secret_of(facts["deploy_path"])
    return {**headers, "X-Maintenance-Bypass": secret} if secret else headers


def secret_of(deploy_path: str) -> str:
    try:
        with open(os.path.join(deploy_path, ".deploy", "bypass")) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def hint(status: int) -> str:
    """The likely cause of a status that Django does not explain."""
    if status == http.HTTPStatus.BAD_REQUEST:
        return " Check that the Host header is one of the site's ALLOWED_HOSTS."
    return ""


def judge(facts: dict[str, Any], answer: http.client.HTTPResponse, text: str) -> tuple[bool, str]:
    seen = f"Status {answer.status}"
    if answer.status != facts["status"]:
        to = f" to {answer.getheader('Location')}" if answer.getheader("Location") else ""
        return False, f"{seen}{to} where {facts['status']} is expected.{hint(answer.status)}"
    if facts["text"] not in text:
        start = " ".join(text.split())[:SHOWN_CHARACTERS]
        return False, f"{seen}, but the text {facts['text']!r} is not in it: {start}"
    if facts["gunicorn"]:
        wanted = os.path.basename(os.path.realpath(os.path.join(facts["deploy_path"], "current")))
        serving = answer.getheader("X-Deploy-Release")
        if serving != wanted:
            return False, f"{seen}, from release {serving or 'unknown'} where {wanted} is current."
        seen += f", from release {wanted}"
    return True, f"{seen}."


def main() -> None:
    facts = json.load(sys.stdin)
    deadline = time.monotonic() + facts["deadline"]
    print(f"Asking {facts['url']}", flush=True)
    shown = ""
    while True:
        left = deadline - time.monotonic()
        is_well, seen = look(facts, min(LONGEST_SECONDS, max(SHORTEST_SECONDS, left)))
        if seen != shown:
            print(seen, flush=True)
            shown = seen
        if is_well:
            return
        if time.monotonic() + PAUSE_SECONDS > deadline:
            sys.exit(f"{facts['url']} did not pass within {facts['deadline']:g} seconds. {seen}")
        time.sleep(PAUSE_SECONDS)


main()
