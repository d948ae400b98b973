"""Open hosts for tests: this machine and one behind a real sshd, which have to behave alike."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from deploy_manager.hosts.address import Address, OpenHost, Stream
from deploy_manager.hosts.opening import open_host
from tests.parts.sshd import Sshd


@dataclass
class Log:
    """A sink that remembers everything in order."""

    pieces: list[tuple[Stream, bytes]] = field(default_factory=list)

    def __call__(self, stream: Stream, data: bytes) -> None:
        self.pieces.append((stream, data))

    def of(self, stream: Stream) -> bytes:
        return b"".join(data for of, data in self.pieces if of == stream)

    @property
    def our_own(self) -> str:
        return self.of(Stream.OUR_OWN).decode()


@dataclass(frozen=True)
class Opened:
    """An open host, and what a test wants to see of it."""

    host: OpenHost
    log: Log
    cancelled: Event
    folder: Path
    """A folder of this machine that the host's account owns."""


OpenAddress = Callable[[Address], Opened]


@pytest.fixture
def open_address(ssh_settings: object, tmp_path: Path) -> Iterator[OpenAddress]:
    """Opens an address; the host is closed after the test."""
    hosts: list[OpenHost] = []

    def open_it(address: Address) -> Opened:
        log, cancelled = Log(), Event()
        hosts.append(open_host(address, log, cancelled))
        return Opened(hosts[-1], log, cancelled, tmp_path)

    yield open_it
    for host in hosts:
        host.close()


@pytest.fixture
def over_ssh(open_address: OpenAddress, sshd: Sshd) -> Opened:
    """A host behind a real sshd."""
    opened = open_address(sshd.address_for("web1"))
    return Opened(opened.host, opened.log, opened.cancelled, sshd.new_folder())


@pytest.fixture
def on_this_machine(open_address: OpenAddress) -> Opened:
    """A host that is this machine."""
    return open_address(Address("here", local=True))


@pytest.fixture(params=["on_this_machine", "over_ssh"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Each kind of host in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Opened)
    return found


def is_running(pid: int) -> bool:
    """Whether a process of this machine still runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
