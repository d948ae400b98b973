"""Proof that a server answers: a web server by the configuration that was just written."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from . import units
from .running import TierError

if TYPE_CHECKING:
    from .files import Wanted

HEADER = "X-Deploy-Tier"
MOST_BYTES = 10_000
PATIENCE = 10.0
"""Seconds: old workers may answer for a moment after a reload."""


def prove(wanted: Wanted) -> None:
    """Ask each address until it answers by this configuration. Raises TierError."""
    until = time.monotonic() + PATIENCE
    for proof in wanted.proofs:
        while problem := _problem(proof, wanted.secrets):
            # It may have ended at once: then nobody will answer.
            if time.monotonic() > until or not units.is_running(wanted.unit):
                raise TierError(f"{proof['url']}: {problem}\n{units.log_of(wanted.unit)}".strip())
            time.sleep(0.1)


def _problem(proof: Mapping[str, str], secrets: Sequence[str]) -> str:
    """Return what is wrong with the answer; blank: nothing."""
    parts = urlsplit(proof["url"])
    if parts.scheme == "memcache":
        return _problem_of_lines(parts, b"version\r\n", b"VERSION ")
    if parts.scheme == "redis":
        login = "".join(f"AUTH {secret}\r\n" for secret in secrets)
        return _problem_of_lines(parts, f"{login}PING\r\n".encode(), b"+PONG")
    return _problem_of_web_server(proof, parts)


def _problem_of_lines(parts: SplitResult, question: bytes, answer: bytes) -> str:
    """Ask a server that talks in lines; `answer` is how the last one of its answers begins."""
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
            connection.sendall(question)
            got = b""
            while got.count(b"\n") < question.count(b"\n") and len(got) < MOST_BYTES:
                if not (more := connection.recv(MOST_BYTES)):
                    break
                got += more
    except OSError as error:
        return f"no answer ({error})"
    last = got.strip().rpartition(b"\n")[2]
    return "" if last.startswith(answer) else f"it answers {last.decode(errors='replace')!r}"


def _problem_of_web_server(proof: Mapping[str, str], parts: SplitResult) -> str:
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        if parts.scheme == "https":
            # It is this server that is asked, so its certificate need not be known to anybody.
            context = ssl._create_unverified_context()  # noqa: S323
            connection.connect()
            # Caddy has no certificate for a client that names no host.
            connection.sock = context.wrap_socket(connection.sock, server_hostname=proof["host"])
        connection.request("GET", parts.path, headers={"Host": proof["host"]})
        answer = connection.getresponse()
        found = answer.getheader(HEADER)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({error})"
    finally:
        connection.close()
    if found == proof["digest"]:
        return ""
    return f"it answers {answer.status}, but not by the configuration that was written"
