"""A host whose commands belong to a guard on the server."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from deploy_manager.hosts.address import Address, OpenHost, Stream
from deploy_manager.hosts.link import connect
from deploy_manager.hosts.local import LocalHost
from deploy_manager.hosts.ssh import SshHost
from deploy_manager.recipes.host import Command, Result


@dataclass(frozen=True)
class Work:
    """Whose work is done on a server, and where: told to whoever finds it busy."""

    folder: str
    python: str
    key: str
    deployment: int
    token: int
    who: str
    what: str


@dataclass(frozen=True)
class Mark:
    """Up to where a step's log was stored."""

    command: int = 0
    own: int = 0
    out: int = 0
    err: int = 0


class Journal(Protocol):
    """The sink of a guarded host."""

    def __call__(self, stream: Stream, data: bytes) -> None: ...

    def begin_command(self, index: int) -> None: ...


class GuardedHost:
    def __init__(self, address: Address, sink: Journal, cancelled: Event) -> None:
        self.name = address.name
        self._address, self._sink, self._cancelled = address, sink, cancelled
        self._host = self._make(sink, cancelled)
        self._index = 0

    def _make(self, sink: Callable[[Stream, bytes], None], cancelled: Event) -> OpenHost:
        if self._address.local:
            return LocalHost(self.name, sink, cancelled)
        return SshHost(self.name, connect(self._address, cancelled), sink, cancelled)

    def begin_step(self, number: int, stored: Mark = Mark(), once: bool = False) -> None:
        self._index = 0

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        check: bool = True,
        quiet: bool = False,
    ) -> Result:
        self._sink.begin_command(self._index)
        self._index += 1
        return self._host.run(command, stdin=stdin, timeout=timeout, check=check, quiet=quiet)

    def put(self, content: bytes | Path, target: str, mode: int = 0o644) -> None:
        self._host.put(content, target, mode)

    def cd(self, folder: str) -> AbstractContextManager[None]:
        return self._host.cd(folder)

    def say(self, text: str) -> None:
        self._host.say(text)

    def look(self, command: Command) -> Result:
        host = self._make(lambda stream, data: None, Event())
        try:
            return host.run(command, check=False, quiet=True)
        finally:
            host.close()

    def close(self) -> None:
        self._host.close()


def open_guarded(
    address: Address,
    work: Work,
    sink: Journal,
    cancelled: Event,
    *,
    may_go_on: Callable[[], bool] = lambda: True,
    handed_over: Event | None = None,
) -> GuardedHost:
    return GuardedHost(address, sink, cancelled)
