"""Pipes to a program: sending and receiving do not wait for each other."""

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from deploy_manager.exceptions import ConnectionLost
from deploy_manager.hosts import pipes
from deploy_manager.hosts.pipes import Pipe
from tests.parts.hosts import Opened

MANY = 5_000_000
"""Bytes; more than pipes and the window of a channel hold."""


def pipe_to(opened: Opened, line: str) -> Pipe:
    pipe: Pipe = opened.host.open_pipe(line)  # type: ignore[attr-defined]
    return pipe


def received(pipe: Pipe, times: int = 400) -> bytes:
    """What comes within this many waits, which are short."""
    return next(filter(None, (pipe.receive(0.05) for _ in range(times))), b"")


def test_a_program_that_reads_late_gets_all_while_others_wait_for_its_output(
    opened: Opened,
) -> None:
    pipe = pipe_to(opened, f"sleep 1; head -c {MANY} | wc -c")
    errors: list[ConnectionLost] = []

    def send() -> None:
        try:
            pipe.send(b"x" * MANY)
        except ConnectionLost as error:
            errors.append(error)

    sending = Thread(target=send)
    sending.start()
    assert int(received(pipe)) == MANY
    sending.join()
    pipe.close()
    assert not errors


def test_a_program_that_reads_no_more_is_given_up(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "SENDS_WITHIN", 0.3)
    pipe = pipe_to(opened, "exec sleep 1.5")
    with pytest.raises(ConnectionLost):
        pipe.send(b"x" * MANY)
    with pytest.raises(ConnectionLost):
        pipe.receive(1.0)
    with pytest.raises(ConnectionLost):
        pipe.send(b"x")
    pipe.close()


@pytest.fixture
def many_open_files() -> Iterator[None]:
    """So many that new ones get numbers that select does not take."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for number in opened:
        with suppress(OSError):
            os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_open_files")
def test_many_open_files_are_no_hindrance(on_this_machine: Opened) -> None:
    pipe = pipe_to(on_this_machine, "cat")
    pipe.send(b"here")
    assert received(pipe) == b"here"
    pipe.close()
