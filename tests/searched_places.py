"""Whatever a deployment leaves behind, to be looked through: rows, pages, processes, disks."""

import os
import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import redis
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client

from deploy_manager.admin.addresses import run_url
from deploy_manager.models import Deployment, Environment
from tests.parts.admin import url, visitor
from tests.planted import Search, needles

OUR_OWN = re.compile(
    rb"uv|pip3?|git|ssh|ssh-agent|ssh-add|sshd|sshd-session|sftp-server|sudo|celery|redis-server"
    rb"|(guard|launch|virtualenv|unpack|clean_up|run_tool|preflight)\b[\w.-]*"
)
"""Programs that work for a deployment and need no secret in their environment."""


class Watched:
    """What processes of this machine had on their command lines, and ours in their environments.

    And what our files for a moment had in them. Looked at all the time, in a thread.
    """

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with suppress(OSError):
                    self._look_at(pid)
            for folder in {Path(tempfile.gettempdir()), Path("/tmp"), Path("/dev/shm")}:
                for path in folder.glob("deploy_manager-*"):
                    for file in files_below(path):
                        with suppress(OSError):
                            self.seen[str(file)] = file.read_bytes()

    def _look_at(self, pid: str) -> None:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        self.seen[f"{pid} {line[:60]!r}"] = line
        # The site's own have them in their environments: that is what these are for.
        names = (word.rpartition(b"/")[2] for word in line.split(b"\0")[:4])
        if any(map(OUR_OWN.fullmatch, names)):
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            self.seen[f"{pid} environ of {line[:60]!r}"] = environ


class Overheard:
    """All that a Redis is told, by its command MONITOR."""

    def __init__(self, redis_url: str) -> None:
        self.told = bytearray()
        self._url = redis_url
        place = urlsplit(redis_url)
        self._socket = socket.create_connection((place.hostname, place.port))
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> "Overheard":
        self._socket.sendall(b"MONITOR\r\n")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while data := self._socket.recv(1 << 16):
            self.told += data

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Yield each key that is there, with its value."""
        with redis.Redis.from_url(self._url) as client:
            for key in client.scan_iter():
                name = key.decode(errors="replace")
                match client.type(key):
                    case b"string":
                        values = [client.get(key)]
                    case b"list":
                        values = client.lrange(key, 0, -1)
                    case b"set":
                        values = list(client.smembers(key))
                    case b"zset":
                        values = client.zrange(key, 0, -1)
                    case b"hash":
                        values = [each for pair in client.hgetall(key).items() for each in pair]
                    case kind:
                        raise AssertionError(f"{name} is a {kind!r}: read it here, too.")
                yield f"key of Redis: {name}", key + b"\n" + b"\n".join(values)


def look_through_database(search: Search) -> None:
    """Look through the values of all rows, and the file of the database if it has one of its own.

    As they are stored, without what the models make of them; and the log, put together again.
    """
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            cells = [cell for row in cursor.fetchall() for cell in row if cell is not None]
            search.look(f"table {table}", b"\n".join(map(_as_bytes, cells)))
    chunks = apps.get_model("deploy_manager", "LogChunk").objects.order_by("step", "stream", "pk")
    search.look("the log", b"".join(bytes(chunk.data) for chunk in chunks))
    if connection.vendor == "sqlite":
        for path in Path(connection.settings_dict["NAME"]).parent.glob(
            f"{Path(connection.settings_dict['NAME']).name}*"
        ):
            search.look(f"file {path.name}", path.read_bytes())


def _as_bytes(cell: object) -> bytes:
    if isinstance(cell, (bytes, memoryview)):
        return bytes(cell)
    return str(cell).encode()


def look_through_pages(search: Search, environment: Environment) -> None:
    """Look through the lists and the pages of all rows, and the environment's and its runs' own."""
    owner = visitor("owner")
    for address in _pages_of_rows():
        # Some are made in other ways, or point elsewhere.
        _look_at_page(search, owner, address, (200, 302, 403))
    own = [
        url("environment_command", environment.pk),
        run_url("deploy", [environment.pk]),
    ]
    for deployment in environment.deployments.all():
        names = ("change", "log", "progress")
        own += [url(f"deployment_{name}", deployment.pk) for name in names]
    for address in own:
        _look_at_page(search, owner, address, (200,))


def _pages_of_rows() -> Iterator[str]:
    for model in admin.site._registry:
        if model._meta.app_label != "deploy_manager":
            continue
        yield url(f"{model._meta.model_name}_changelist")
        for pk in model._default_manager.values_list("pk", flat=True)[:20]:
            yield url(f"{model._meta.model_name}_change", pk)
            yield url(f"{model._meta.model_name}_history", pk)


def _look_at_page(search: Search, visitor: Client, address: str, may_be: tuple[int, ...]) -> None:
    response = visitor.get(address)
    assert response.status_code in may_be, f"{address}: {response.status_code}"
    content = b"".join(response) if response.streaming else response.content
    search.look(f"page {address}", content)


def files_below(folder: Path) -> Iterator[Path]:
    # By os.walk, which goes on where a folder vanishes.
    for parent, _folders, names in os.walk(folder):
        for path in (Path(parent) / name for name in names):
            with suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    yield path


def look_through_disk(search: Search, folder: Path) -> list[Path]:
    """Look through the files of a folder; return those in which there is a secret.

    Packages are only asked for secrets in one line: there are many, and nobody breaks it there.
    """
    found = _by_grep(search, folder)
    for path in files_below(folder):
        with suppress(OSError):
            if "site-packages" in path.parts:
                search.places += 1
                search.size += path.stat().st_size
            elif search.look(str(path), path.read_bytes()):
                found.add(path)
    return sorted(found)


def _by_grep(search: Search, folder: Path) -> set[Path]:
    wanted = {each for value in search.secrets.values() for each in needles(value)}
    words = ["grep", "-rlaF", "-f", "-", str(folder)]
    done = subprocess.run(
        words,
        input=b"\n".join(wanted) + b"\n",
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    # Programs that are still at work may remove a file meanwhile: 2 with others found.
    assert done.returncode in (0, 1, 2), done.stderr
    return {Path(os.fsdecode(line)) for line in done.stdout.splitlines()}


def log_of(deployment: Deployment) -> bytes:
    return b"".join(map(bytes, deployment.log_chunks.values_list("data", flat=True)))
