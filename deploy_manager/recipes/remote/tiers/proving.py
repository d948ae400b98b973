"""Proof that a server answers: a web server by the configuration that was just written."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from . import units
from .running import TierError

if TYPE_CHECKING:
    from .files import Wanted

Proof = Mapping[str, str]

HEADER = "X-Deploy-Tier"
MOST_BYTES = 10_000
PATIENCE = 10.0
"""Seconds: old workers may answer for a moment after a reload."""


def prove(wanted: Wanted) -> None:
    """Ask each address until it answers by this configuration. Raises TierError."""
    until = time.monotonic() + PATIENCE
    for proof in wanted.proofs:
        while problem := _problem(proof, wanted.secrets, wanted.certificate):
            # It may have ended at once: then nobody will answer.
            if time.monotonic() > until or not units.is_running(wanted.unit):
                log = units.log_of(wanted.unit)
                raise TierError(f"{_asked(proof)}: {problem}\n{log}".strip())
            time.sleep(0.1)


def is_proven(wanted: Wanted) -> bool:
    """Whether each address answers by this configuration now."""
    return not any(_problem(each, wanted.secrets, wanted.certificate) for each in wanted.proofs)


def others_served(wanted: Wanted, neighbours: Iterable[Mapping[str, Any]]) -> list[Proof]:
    """Return what the same unit answers for other tiers, at their addresses and at ours."""
    ours = {(each.scheme, each.port, each.hostname) for each in map(_split, wanted.proofs)}
    found: dict[tuple[str, str], Proof] = {}
    for tier in neighbours:
        for proof in tier.get("proofs", ()) if tier.get("unit") == wanted.unit else ():
            parts = _split(proof)
            places = {parts.netloc} | {
                parts.netloc.replace(str(parts.hostname), str(host), 1)
                for scheme, port, host in ours
                if (scheme, port) == (parts.scheme, parts.port)
            }
            for place in places if proof["digest"] else ():
                moved = {**proof, "url": parts._replace(netloc=place).geturl()}
                found[moved["url"], moved["host"]] = moved
    return [each for each in found.values() if not _problem(each)]


def prove_others(served: Iterable[Proof]) -> None:
    """Raise TierError if one of these is not answered any more as it was."""
    if asked := first_unanswered(served):
        raise TierError(
            f"It would take requests of another site: {asked} was answered by that site's"
            " configuration, and is not any more. Listen where the other one does, or elsewhere."
        )


def first_unanswered(served: Iterable[Proof]) -> str:
    """Wait until each of these is answered as it was; return the first that is not, else blank."""
    until = time.monotonic() + PATIENCE
    for proof in served:
        while _problem(proof):
            if time.monotonic() > until:
                return _asked(proof)
            time.sleep(0.1)
    return ""


def _split(proof: Proof) -> SplitResult:
    return urlsplit(proof["url"])


def _asked(proof: Proof) -> str:
    return f"{proof['url']} for {proof['host']}" if proof["host"] else proof["url"]


def _problem(proof: Proof, secrets: Sequence[str] = (), certificate: str = "") -> str:
    """Return what is wrong with the answer; blank: nothing."""
    parts = urlsplit(proof["url"])
    if parts.scheme == "memcache":
        return _problem_of_lines(parts, b"version\r\n", b"VERSION ")
    if parts.scheme == "redis":
        login = "".join(f"AUTH {secret}\r\n" for secret in secrets)
        return _problem_of_lines(parts, f"{login}PING\r\n".encode(), b"+PONG")
    return _problem_of_web_server(proof, parts, certificate)


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


def _problem_of_web_server(proof: Proof, parts: SplitResult, certificate: str) -> str:
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        if parts.scheme == "https":
            # It is this server that is asked, so its certificate need not be known to anybody.
            context = ssl._create_unverified_context()  # noqa: S323
            connection.connect()
            # Caddy has no certificate for a client that names no host.
            connection.sock = context.wrap_socket(connection.sock, server_hostname=proof["host"])
            presented = connection.sock.getpeercert(binary_form=True)
            if certificate and presented != _first_of(certificate):
                return f"it presents another certificate than {certificate}"
        connection.request("GET", parts.path, headers={"Host": proof["host"]})
        answer = connection.getresponse()
        found = answer.getheader(HEADER)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer ({error})"
    finally:
        connection.close()
    if found == proof["digest"]:
        return ""
    return f"it answers {answer.status}, but not by the configuration that was written"


def _first_of(path: str) -> bytes:
    """Return the certificate of a file with its chain. Raises OSError, ValueError."""
    with open(path) as file:
        text = file.read()
    end = "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begin : text.index(end, begin) + len(end)])
