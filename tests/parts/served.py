"""A deployed site as the other recipes leave it, served by a real gunicorn."""

import contextlib
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from deploy_manager.hosts.address import Address, OpenHost
from deploy_manager.hosts.opening import open_host
from deploy_manager.recipes import Reload, Site
from tests.parts.hosts import Log, is_running
from tests.parts.processes import free_port

APPLICATION = """
import os
GREETING = "{text}"
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(GREETING + " " + os.environ.get("COLOUR", "")).encode()]
"""
WAIT_SECONDS = 20


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: dict[str, str]


@dataclass
class Served:
    """A site on this machine with releases to switch between."""

    path: Path
    host: OpenHost
    log: Log
    venv: Path
    reload: Reload
    cancelled: Event
    folder: str = ""

    @property
    def site(self) -> Site:
        return Site(
            environment="shop/production",
            deploy_path=str(self.path),
            python=sys.executable,
            reload=self.reload,
            folder=self.folder,
        )

    def release(self, name: str, code: str | None = None, **variables: str) -> Path:
        """Make a release and let `current` point at it, as activation does."""
        release = self.path / "releases" / name
        code_folder = release / self.folder
        code_folder.mkdir(parents=True)
        (code_folder / "site_wsgi.py").write_text(code or APPLICATION.format(text=name))
        lines = [f"export {key}={shlex.quote(value)}\n" for key, value in variables.items()]
        (release / ".deploy.env").write_text("".join(lines))
        (release / "venv").symlink_to(self.venv)
        beside = self.path / "current.new"
        beside.symlink_to(release)
        beside.replace(self.path / "current")
        return release

    @property
    def pid_file(self) -> Path:
        return self.path / ".deploy" / "gunicorn.pid"

    @property
    def master(self) -> int:
        return int(self.pid_file.read_text())

    @property
    def bypass(self) -> str:
        return (self.path / ".deploy" / "bypass").read_text()

    def masters(self) -> list[int]:
        """Every gunicorn process of the site that is no worker."""
        parents = {pid: _parent(pid) for pid in self.processes()}
        return [
            pid
            for pid, parent in parents.items()
            if parent not in parents or f"GUNICORN_PID={parent}" in _environment(pid)
        ]

    def processes(self) -> list[int]:
        return processes_of(self.path)

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        connection = self._connection()
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), dict(response.headers))

    def _connection(self) -> http.client.HTTPConnection:
        if self.reload.bind.startswith("unix:"):
            return UnixConnection(self.reload.bind.removeprefix("unix:"))
        return http.client.HTTPConnection(self.reload.bind, timeout=WAIT_SECONDS)

    def end(self) -> None:
        """End every gunicorn process of this site, by its number."""
        for pid in self.masters():
            _end(pid)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=WAIT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def processes_of(deploy_path: Path) -> list[int]:
    """Every gunicorn process of a site on this machine."""
    launcher = f"{deploy_path}/.deploy/processes.pyz".encode()
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if cmdline.read_bytes().split(b"\0")[1:2] == [launcher]:
                found.append(int(cmdline.parent.name))
    return found


def make_venv(folder: Path) -> Path:
    """Make a virtual environment that sees what the interpreter that runs the tests has."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    own = [path for path in sys.path if path.endswith("site-packages")]
    (packages_of(folder) / "tests.pth").write_text("\n".join(own))
    return folder


def packages_of(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "It did not come true in time."
        time.sleep(0.02)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_running(pid))


def _parent(pid: int) -> int:
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1]
        )
    except OSError:
        return 0


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


@pytest.fixture(scope="session")
def venv_with_gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that sees gunicorn of the interpreter that runs the tests."""
    return make_venv(tmp_path_factory.mktemp("venv") / "site")


@pytest.fixture
def bare_venv(tmp_path: Path) -> Path:
    """A virtual environment with nothing in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    return tmp_path / "bare"


@pytest.fixture
def served(tmp_path: Path, venv_with_gunicorn: Path) -> Iterator[Served]:
    """A site that listens on a free port once it is reloaded; its processes end with the test."""
    log, cancelled = Log(), Event()
    host = open_host(Address("here", local=True), log, cancelled)
    path = tmp_path / "site"
    path.mkdir()
    bind = f"127.0.0.1:{free_port()}"
    way = Reload("gunicorn", wsgi="site_wsgi:application", workers=1, bind=bind)
    served = Served(path, host, log, venv_with_gunicorn, way, cancelled)
    try:
        yield served
    finally:
        served.end()
        host.close()
