"""A package index and a site in one web server on loopback, whose answers can be spoilt."""

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PACKAGE = "chaosdep"
HANGS_FOR = 30.0


class Server(ThreadingHTTPServer):
    """Serves every version of one package, and the health page of a site."""

    daemon_threads = True
    newest = 1
    is_corrupt = False
    waits = 0.0
    """Seconds before a package is sent."""

    health = "well"
    """Or 500, redirects, hangs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.over = threading.Event()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/health/":
            self._tell_health()
        elif self.path == f"/simple/{PACKAGE}/":
            self._send(200, self._list(), "text/html")
        elif self.path.endswith(".whl"):
            time.sleep(self.server.waits)
            self._send(200, self._wheel(), "application/octet-stream")
        else:
            self._send(404, b"", "text/plain")

    def _tell_health(self) -> None:
        if self.server.health == "hangs":
            self.server.over.wait(HANGS_FOR)
        status = {"500": 500, "redirects": 302}.get(self.server.health, 200)
        self._send(status, b"well", "text/plain")

    def _list(self) -> bytes:
        numbers = range(1, self.server.newest + 1)
        return "".join(
            f'<a href="/{wheel_name(number)}#sha256={digest_of(number)}">{wheel_name(number)}</a>\n'
            for number in numbers
        ).encode()

    def _wheel(self) -> bytes:
        content = wheel(int(self.path.split("-")[1].partition(".")[2]))
        return content[: len(content) // 2] if self.server.is_corrupt else content

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere/")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        with suppress(OSError):  # who asked may be gone
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def wheel_name(number: int) -> str:
    return f"{PACKAGE}-1.{number}-py3-none-any.whl"


def digest_of(number: int) -> str:
    return hashlib.sha256(wheel(number)).hexdigest()


def wheel(number: int) -> bytes:
    """Return a version of the package."""
    folder = f"{PACKAGE}-1.{number}.dist-info"
    facts = {
        f"{PACKAGE}.py": f"VERSION = {number}\n",
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.{number}\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*facts, f"{folder}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in [*facts.items(), (f"{folder}/RECORD", record)]:
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


@contextmanager
def serving() -> Iterator[Server]:
    """Serve in a thread, until the block ends."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
