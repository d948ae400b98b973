"""A database of advisories on loopback, which answers as OSV does, and can be spoilt."""

import json
import ssl
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

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
        """How often a package and version were asked for, each page of the answer counted."""

        self.requests: list[str] = []
        """The paths that were asked for."""

        self.batches: list[int] = []
        """How many queries each request had."""

        self.connections = 0

        self.down = False
        """Whether every answer is 503."""

        self.refusals = 0
        """How many of the next answers are 503."""

        self.garbage: dict[str, Any] = {}
        """What stands in an answer for a package instead of the truth."""

        self.bodies: dict[str, bytes] = {}
        """What is answered to the path of a request instead of the truth, with status 200."""

        self.waits: dict[str, float] = {}
        """Seconds before the answer to a path; to every other one: those of `*`."""

        self.drips: dict[str, bytes] = {}
        """What is sent for a path before a byte comes every now and then, for ever."""

        self.moved_to = ""
        """Where every request is redirected, if set."""

        self.page_size = 1000
        """Advisories in one answer; `next_page_token` leads to the others."""

        self.scheme = "http"
        self.user, self.password = "", ""
        """Asked for if set (basic authentication)."""

        self.is_over = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """What the setting ADVISORIES takes."""
        return f"{self.scheme}://{self.place}"

    def add(self, identifier: str, package: str, **facts: Any) -> Record:
        """Publish an advisory; the facts are those of `advisory`."""
        record = advisory(identifier, package, **facts)
        self.records = [*self.records, record]
        return record

    def answer(self, query: dict[str, Any]) -> Any:
        """As https://google.github.io/osv.dev/post-v1-querybatch/, for one query."""
        name, version = query["package"]["name"], query["version"]
        self.asked[name, version] += 1
        if name in self.garbage:
            return self.garbage[name]
        found = [
            {"id": one["id"], "modified": one["modified"]}
            for one in self.records
            if _affects(one, name, Version(version))
        ]
        start = int(query.get("page_token", 0))
        end = start + self.page_size
        more = {"next_page_token": str(end)} if end < len(found) else {}
        return {**({"vulns": found[start:end]} if found else {}), **more}

    def record(self, identifier: str) -> Record | None:
        return next((one for one in self.records if one["id"] == identifier), None)

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

    def setup(self) -> None:
        super().setup()
        self.server.stub.connections += 1

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._is_answered_otherwise():
            return
        queries = asked["queries"]
        self.server.stub.batches.append(len(queries))
        results = [self.server.stub.answer(query) for query in queries]
        self._send(200, json.dumps({"results": results}).encode())

    def do_GET(self) -> None:
        if self._is_answered_otherwise():
            return
        folder, _, name = self.path.rpartition("/")
        record = self.server.stub.record(unquote(name))
        if folder != "/v1/vulns" and not folder.startswith("/pypi/"):
            self._send(405, b"{}")
        elif record is None:
            self._send(404, b'{"code": 5, "message": "Bug not found."}')
        else:
            self._send(200, json.dumps(record).encode())

    def _is_answered_otherwise(self) -> bool:
        stub = self.server.stub
        stub.requests.append(self.path)
        stub.is_over.wait(stub.waits.get(self.path, stub.waits.get("*", 0.0)))
        if stub.down or stub.refusals:
            stub.refusals = max(0, stub.refusals - 1)
            self._send(503, b"down")
        elif stub.user and not self._is_from(stub.user, stub.password):
            self._send(401, b"{}")
        elif stub.moved_to:
            self._send(302, b"", Location=stub.moved_to + self.path)
        elif self.path in stub.drips:
            self._drip(stub.drips[self.path])
        elif self.path in stub.bodies:
            self._send(200, stub.bodies[self.path])
        else:
            return False
        return True

    def _is_from(self, user: str, password: str) -> bool:
        expected = b64encode(f"{user}:{password}".encode()).decode()
        return bool(self.headers.get("Authorization", "") == f"Basic {expected}")

    def _drip(self, begin: bytes) -> None:
        self.close_connection = True
        with suppress(OSError):  # whoever asked may be gone
            self.wfile.write(begin)
            self.wfile.flush()
            while not self.server.stub.is_over.wait(0.02):
                self.wfile.write(b" ")
                self.wfile.flush()

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(OSError):  # whoever asked may be gone
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
