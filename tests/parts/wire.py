"""What lies between two machines, made to misbehave: a TCP relay on loopback."""

import contextlib
import socket
from collections.abc import Iterator
from threading import Event, Thread

import pytest


class Relay:
    """Passes bytes on between who connects and a target, until it is told to swallow them."""

    def __init__(self, target: tuple[str, int], hang_ups: int = 0) -> None:
        self._target = target
        self._hang_ups = hang_ups
        self._swallows = Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.address, self.port = self._server.getsockname()
        self.connections = 0

    def swallow(self) -> None:
        """From now on let nothing through, in either direction, without hanging up."""
        self._swallows.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                if self.connections <= self._hang_ups:
                    client.close()
                    continue
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        # Each at once: what is not in the list is closed by nobody if the next line fails.
        self._sockets.append(client)
        target = socket.create_connection(self._target)
        self._sockets.append(target)
        for ends in ((client, target), (target, client)):
            self._threads.append(Thread(target=self._pass_on, args=ends, daemon=True))
            self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._swallows.is_set():
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port where connections are accepted and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
