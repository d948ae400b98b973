"""`script/test -s tests/benchmark_guard.py`: what a guard costs beside a bare connection.

Prints medians of the same run; asserts nothing about time.
"""

import socket
import statistics
import time
from collections.abc import Callable
from itertools import count
from threading import Event

import fabric
import pytest

from deploy_manager.hosts.opening import open_host
from tests.parts.guards import Place
from tests.parts.sshd import Sshd

ROUNDS = 100
STARTS = 15


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def test_a_command_that_does_nothing(there: Place, sshd: Sshd) -> None:
    bare = fabric.Connection(
        sshd.address,
        user=sshd.user,
        port=sshd.port,
        connect_kwargs={"key_filename": str(sshd.key_file), "look_for_keys": False},
        config=fabric.Config(overrides={"load_ssh_configs": False}),
    )
    bare.open()
    assert bare.transport is not None
    bare.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host = open_host(there.address, lambda stream, data: None, Event())
    guarded = there.open().host
    ways: dict[str, Callable[[], object]] = {
        "fabric": lambda: bare.run("true", hide=True, in_stream=False),
        "our host": lambda: host.run("true"),
        "guarded": lambda: guarded.run("true"),
    }
    rounds = [{name: milliseconds(run) for name, run in ways.items()} for _ in range(ROUNDS + 1)]
    medians = {name: statistics.median(each[name] for each in rounds[1:]) for name in ways}
    print("\n" + ", ".join(f"{name} {took:.1f} ms" for name, took in medians.items()))
    print(f"guarded costs {medians['guarded'] - medians['fabric']:+.1f} ms beside fabric")
    bare.close()
    host.close()


@pytest.mark.parametrize("kind", ["here", "there"])
def test_starting_a_guard(request: pytest.FixtureRequest, kind: str) -> None:
    place: Place = request.getfixturevalue(kind)
    tokens = count(1)

    def start() -> None:
        place.open(token=next(tokens)).host.close()

    def connect() -> None:
        open_host(place.address, lambda stream, data: None, Event()).close()

    start()  # the first one sends the guard
    started = statistics.median(milliseconds(start) for _ in range(STARTS))
    connected = statistics.median(milliseconds(connect) for _ in range(STARTS))
    print(f"\n{kind}: with a guard {started:.0f} ms, without {connected:.0f} ms")
