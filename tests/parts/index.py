"""A package index on loopback: real wheels, several versions, and answers that can be spoilt."""

import base64
import json
import ssl
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.parts.index_pages import HTML_TYPE, JSON_TYPE, Project, Upload, as_html, as_json
from tests.parts.wheels import Package, sdist, wheel

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Index:
    """Serves the simple API as PEP 503, 691, 658, 700 and 792 say, while it is told of packages.

    Serves from the moment it is made until `close`, or the end of a `with`.
    """

    def __init__(self, user: str = "", password: str = "") -> None:
        self.user, self.password = user, password
        self.scheme = "http"
        self.projects: dict[str, Project] = {}
        self.requests: list[str] = []
        """Paths, in the order they were asked for."""

        self.down = False
        """Whether every answer is 503."""

        self.refusal = ""
        """What every request is refused with, if with anything."""

        self.speaks_json = True
        """False: like an old index, HTML only, without upload times."""

        self.waits = 0.0
        """Seconds before each answer."""

        self.before_answer: Callable[[], object] = lambda: None

        self.pages: dict[str, bytes] = {}
        """What is answered for a project instead of the truth, said to be JSON."""

        self.is_over = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """What pip and uv take as the index; without user and password."""
        return f"{self.scheme}://{self.place}/simple/"

    @property
    def url_with_credentials(self) -> str:
        return f"{self.scheme}://{self.user}:{self.password}@{self.place}/simple/"

    def add(
        self,
        name: str,
        version: str,
        *,
        requires: tuple[str, ...] = (),
        uploaded: datetime | None = LONG_AGO,
        yanked: str | None = None,
        modules: Mapping[str, str] | None = None,
        requires_python: str = "",
        status: str | None = None,
        as_sdist: bool = False,
        is_broken: bool = False,
    ) -> Upload:
        """Make a package and offer it at once; `is_broken`: sent cut in half, so no hash fits."""
        package = Package(name, version, requires, requires_python, modules or {})
        filename, content = sdist(package) if as_sdist else wheel(package)
        metadata = b"" if as_sdist else package.metadata.encode()
        upload = Upload(
            filename, content, version, uploaded, yanked, requires_python, metadata, is_broken
        )
        project = self.projects.setdefault(canonicalize_name(name), Project(name))
        project.files = {**project.files, filename: upload}
        if status is not None:
            self.say(name, status)
        return upload

    def offer(self, file: Path) -> None:
        """Offer a wheel that somebody else made."""
        name, version, _build, _tags = parse_wheel_filename(file.name)
        content = file.read_bytes()
        with zipfile.ZipFile(file) as archive:
            (metadata,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
            upload = Upload(
                file.name, content, str(version), LONG_AGO, None, "", archive.read(metadata), False
            )
        project = self.projects.setdefault(name, Project(name))
        project.files = {**project.files, file.name: upload}

    def say(self, name: str, status: str, reason: str = "") -> None:
        """Give a project a status, like archived, quarantined, deprecated."""
        project = self.projects[canonicalize_name(name)]
        project.status, project.status_reason = status, reason

    def yank(self, name: str, version: str, reason: str = "") -> None:
        project = self.projects[canonicalize_name(name)]
        project.files = {
            filename: replace(upload, yanked=reason) if upload.version == version else upload
            for filename, upload in project.files.items()
        }

    def upload(self, filename: str) -> Upload | None:
        found = [one.files[filename] for one in [*self.projects.values()] if filename in one.files]
        return found[0] if found else None

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, index: Index) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.index = index


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: else each answer waits for an acknowledgement

    def do_GET(self) -> None:
        index = self.server.index
        index.requests.append(self.path)
        index.is_over.wait(index.waits)
        index.before_answer()
        match self.path.split("/"):
            case _ if index.down:
                self._send(503, b"down", "text/plain")
            case _ if index.refusal:
                self._send(403, b"no", "text/plain", index.refusal)
            case _ if not self._may_enter():
                self._send(401, b"who are you?", "text/plain")
            case ["", "simple", ""]:
                self._list_projects()
            case ["", "simple", name, ""] if name in index.pages:
                self._send(200, index.pages[name], JSON_TYPE)
            case ["", "simple", name, ""] if name in index.projects:
                self._list_files(index.projects[name])
            case ["", "files", filename]:
                self._send_file(filename)
            case _:
                self._send(404, b"not found", "text/plain")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _may_enter(self) -> bool:
        index = self.server.index
        wanted = base64.b64encode(f"{index.user}:{index.password}".encode()).decode()
        return not index.user or self.headers["Authorization"] == f"Basic {wanted}"

    def _wants_json(self) -> bool:
        return self.server.index.speaks_json and JSON_TYPE in self.headers.get("Accept", "")

    def _list_projects(self) -> None:
        names = [*self.server.index.projects]
        if self._wants_json():
            listed = {"meta": {"api-version": "1.4"}, "projects": [{"name": one} for one in names]}
            self._send(200, json.dumps(listed).encode(), JSON_TYPE)
        else:
            links = "".join(f'<a href="/simple/{name}/">{name}</a>\n' for name in names)
            self._send(200, links.encode(), HTML_TYPE)

    def _list_files(self, project: Project) -> None:
        if self._wants_json():
            self._send(200, json.dumps(as_json(project)).encode(), JSON_TYPE)
        else:
            self._send(200, as_html(project).encode(), HTML_TYPE)

    def _send_file(self, filename: str) -> None:
        index = self.server.index
        if upload := index.upload(filename):
            whole = upload.content
            content = whole[: len(whole) // 2] if upload.is_broken else whole
            self._send(200, content, "application/octet-stream")
        elif upload := index.upload(filename.removesuffix(".metadata")):
            self._send(200, upload.metadata, "text/plain")
        else:
            self._send(404, b"not found", "text/plain")

    def _send(self, status: int, content: bytes, kind: str, reason: str | None = None) -> None:
        self.send_response(status, reason)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Last-Modified", format_datetime(datetime.now(UTC), usegmt=True))
        self.send_header("Content-Length", str(len(content)))
        with suppress(OSError):  # who asked may be gone
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.wfile.flush()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def package_index() -> Iterator[Index]:
    """An empty package index that takes everybody."""
    with Index() as index:
        yield index
