"""Guards at work for tests: on this machine and behind a real sshd, which have to behave alike."""

import contextlib
import fcntl
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy_manager.hosts.address import Address
from deploy_manager.hosts.guard_line import CommandRecord, Work
from deploy_manager.hosts.guarded import GuardedHost, open_guarded
from deploy_manager.hosts.opening import probe
from deploy_manager.recipes.host import Result
from tests.parts.hosts import Log, is_running
from tests.parts.served import wait_until
from tests.parts.sshd import Sshd, StartSshd


@dataclass
class Book(Log):
    """A sink that remembers what came with a place, and what came without."""

    notes: list[str] = field(default_factory=list)

    def note(self, line: bytes) -> None:
        self.notes.append(line.decode())

    def begin_command(self, index: int) -> None:
        """Nothing to remember: tests look at the pieces."""


@dataclass(frozen=True)
class Held:
    """A host that a test works on, and what it wants to see of it."""

    host: GuardedHost
    book: Book
    cancelled: Event
    handed_over: Event


@dataclass
class Place:
    """A deploy path, and whoever works there."""

    address: Address
    folder: Path
    """Where the commands of a test leave their traces."""

    hosts: list[GuardedHost] = field(default_factory=list)

    @property
    def guarded(self) -> Path:
        return self.folder / ".deploy"

    def work(self, **changes: Any) -> Work:
        facts: dict[str, Any] = {"key": "site", "deployment": 1, "begin_number": 1, "token": 1}
        facts |= {"who": "Ann", "what": "Deploy of shop/production", "python": "python3"}
        return Work(folder=str(self.guarded), **{**facts, **changes})

    def open(self, may_go_on: Callable[[], bool] = lambda: True, **changes: Any) -> Held:
        """Open it as a worker does; the keywords change whose work it is."""
        held = Event(), Event()
        book = Book()
        cancelled, handed_over = held
        host = open_guarded(
            self.address,
            self.work(**changes),
            book,
            cancelled,
            may_go_on=may_go_on,
            handed_over=handed_over,
        )
        host.begin_step(1)
        self.hosts.append(host)
        return Held(host, book, cancelled, handed_over)

    def probe(self, **changes: Any) -> list[CommandRecord]:
        return probe(self.address, self.work(**changes), Event())

    def guard(self) -> int:
        """The process id of the guard that holds the lock; 0: nobody does."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                links = {os.readlink(link) for link in (process / "fd").iterdir()}
                if str(self.guarded / "lock") in links and is_running(int(process.name)):
                    return int(process.name)
        return 0

    def is_free(self) -> bool:
        """Whether nobody holds the lock."""
        with (self.guarded / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def groups(self) -> list[int]:
        """The process groups of all commands that the journals know."""
        files = self.guarded.glob("journal/*/*/command.json")
        return [json.loads(text)["group"] for file in files if (text := file.read_text())]

    def kill_guard(self) -> None:
        guard = self.guard()
        assert guard, "nobody holds the lock"
        os.kill(guard, signal.SIGKILL)
        wait_until(lambda: not is_running(guard))

    def lines(self, name: str) -> list[str]:
        """What commands wrote to a file."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / name).read_text().split()
        return []

    def end(self) -> None:
        """Leave nothing of the test running."""
        for host in self.hosts:
            host.close()
        for group in self.groups():
            with contextlib.suppress(ProcessLookupError):
                if group:
                    os.killpg(group, signal.SIGKILL)
        if self.guarded.exists() and (guard := self.guard()):
            os.kill(guard, signal.SIGKILL)


class Doing:
    """A command that is followed by a thread of its own."""

    def __init__(self, host: GuardedHost, command: str, **options: Any) -> None:
        self.result: Result | None = None
        self.error: BaseException | None = None
        self._host, self._command, self._options = host, command, options
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.result = self._host.run(self._command, **self._options)
        except BaseException as error:
            self.error = error


def waiting_for(place: Place, name: str, meanwhile: str = ":") -> str:
    """A command that writes `begun`, then waits for a file."""
    folder = place.folder
    return (
        f"echo begun >> '{folder}/begun'; i=0; while [ ! -e '{folder}/{name}' ]; do {meanwhile};"
        " i=$((i+1)); sleep 0.01; done; echo ended"
    )


def has_begun(place: Place) -> bool:
    return place.lines("begun") != []


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A deploy path of this machine."""
    place = Place(Address("here", local=True), tmp_path)
    yield place
    place.end()


@pytest.fixture
def there(ssh_settings: object, sshd: Sshd) -> Iterator[Place]:
    """A deploy path behind a real sshd."""
    place = place_at(sshd)
    yield place
    place.end()


def place_at(sshd: Sshd) -> Place:
    return Place(sshd.address_for("web1"), sshd.new_folder())


@pytest.fixture
def server(start_sshd: StartSshd, ssh_settings: object) -> Sshd:
    return start_sshd()


@pytest.fixture
def apart(server: Sshd) -> Iterator[Place]:
    """A deploy path behind an sshd of the test's own, whose connections may be cut."""
    place = place_at(server)
    yield place
    place.end()


@pytest.fixture(params=["here", "there"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of server in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Place)
    return found
