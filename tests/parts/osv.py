"""A database of advisories on loopback, which answers as OSV does, and can be spoilt."""

import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

Record = dict[str, Any]
"""As https://ossf.github.io/osv-schema/."""


def advisory(
    identifier: str,
    package: str,
    *,
    introduced: str = "0",
    fixed: str = "",
    last_affected: str = "",
    versions: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    summary: str = "It can be broken into.",
    withdrawn: str = "",
) -> Record:
    """Return a record: affected are `versions`; without, or with `fixed`, a range as well."""
    events = [{"introduced": introduced}]
    events += [{"fixed": fixed}] if fixed else []
    events += [{"last_affected": last_affected}] if last_affected else []
    affected: dict[str, Any] = {"package": {"name": package, "ecosystem": "PyPI"}}
    if versions:
        affected["versions"] = list(versions)
    if fixed or not versions:
        affected["ranges"] = [{"type": "ECOSYSTEM", "events": events}]
    record = {
        "schema_version": "1.7.0",
        "id": identifier,
        "published": "2026-01-01T00:00:00Z",
        "modified": "2026-01-02T00:00:00Z",
        "summary": summary,
        "aliases": list(aliases),
        "affected": [affected],
    }
    return {**record, "withdrawn": withdrawn} if withdrawn else record


class OsvStub:
    """Answers queries from the moment it is made until `close`, or the end of a `with`."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.asked: Counter[tuple[str, str]] = Counter()
        """How often a package and version were asked for."""

        self.down = False
        """Whether every answer is 503."""

        self.garbage: dict[str, bytes] = {}
        """What is answered for a package instead of the truth, with status 200."""

        self.waits: dict[str, float] = {}
        """Seconds before the answer for a package; for every other one: those of `*`."""

        self.page_size = 1000
        """Advisories in one answer; the others are told by `next_page_token`."""

        self.scheme = "http"
        self.user, self.password = "", ""
        """Asked for where set (basic authentication)."""

        self.is_over = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """What pip-audit takes as `--osv-url`."""
        return f"{self.scheme}://{self.place}/v1/query"

    def add(self, identifier: str, package: str, **facts: Any) -> Record:
        """Publish an advisory; the facts are those of `advisory`."""
        record = advisory(identifier, package, **facts)
        self.records = [*self.records, record]
        return record

    def answer(self, name: str, version: str, token: str = "") -> dict[str, Any]:
        found = [one for one in self.records if _affects(one, name, Version(version))]
        start = int(token or 0)
        end = start + self.page_size
        more = {"next_page_token": str(end)} if end < len(found) else {}
        return {**({"vulns": found[start:end]} if found else {}), **more}

    def speak_tls(self, context: ssl.SSLContext) -> None:
        """Speak HTTPS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "https"

    def close(self) -> None:
        """Stop serving; again does nothing."""
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _affects(record: Record, name: str, version: Version) -> bool:
    """As OSV: one of the versions listed, or within one of the ranges."""
    for affected in record["affected"]:
        if canonicalize_name(affected["package"]["name"]) != canonicalize_name(name):
            continue
        if version in map(Version, affected.get("versions", ())):
            return True
        if any(_is_within(one["events"], version) for one in affected.get("ranges", ())):
            return True
    return False


def _is_within(events: list[dict[str, str]], version: Version) -> bool:
    """Only what `advisory` writes: one event of each kind."""
    told = {kind: Version(text) for event in events for kind, text in event.items()}
    is_fixed = "fixed" in told and version >= told["fixed"]
    is_begun = version >= told["introduced"] or told["introduced"] == Version("0")  # 0: before all
    return is_begun and version <= told.get("last_affected", version) and not is_fixed


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, stub: OsvStub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stub = stub


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else each answer waits for an acknowledgement

    def do_POST(self) -> None:
        stub = self.server.stub
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = asked["package"]["name"], asked["version"]
        stub.asked[name, version] += 1
        stub.is_over.wait(stub.waits.get(name, stub.waits.get("*", 0.0)))
        if stub.down:
            self._send(503, b"down")
        elif stub.user and not self.headers.get("Authorization", "").startswith("Basic "):
            self._send(401, b"{}")
        elif name in stub.garbage:
            self._send(200, stub.garbage[name])
        else:
            told = stub.answer(name, version, asked.get("page_token", ""))
            self._send(200, json.dumps(told).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        with suppress(OSError):  # who asked may be gone
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[OsvStub]:
    """A database without an advisory yet."""
    with OsvStub() as stub:
        yield stub
