"""The link is cut, or the worker is gone: what runs goes on, and nothing is lost or done twice."""

import os
import signal
import threading

import pytest

from deploy_manager.exceptions import ClaimLost, ConnectionLost, HandedOver, RecipeError
from deploy_manager.hosts import guard_line, guard_running, guarded
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.guarded import ResumeCursor
from deploy_manager.hosts.local import LocalHost
from deploy_manager.hosts.pipes import LocalPipe
from tests.parts.guards import Doing, Held, Place, has_begun, waiting_for
from tests.parts.served import wait_until
from tests.parts.sshd import Sshd


def hang_up(held: Held) -> None:
    """Let a worker be gone without a word."""
    held.host.drop_line()


@pytest.mark.parametrize("meanwhile", [":", "echo line $i; echo wrong $i >&2"])
def test_a_cut_link_is_made_again_and_the_output_is_whole(
    apart: Place, server: Sshd, meanwhile: str
) -> None:
    held = apart.open()
    doing = Doing(held.host, waiting_for(apart, "go", meanwhile))
    for _ in range(3):
        size = len(held.book.pieces)
        wait_until(lambda: has_begun(apart) and (meanwhile == ":" or len(held.book.pieces) > size))  # noqa: B023
        cuts = len(held.book.notes)
        server.cut_connections()
        wait_until(lambda: len(held.book.notes) > cuts)  # noqa: B023
    (apart.folder / "go").touch()
    doing.end()

    assert doing.error is None
    assert doing.result is not None
    assert apart.lines("begun") == ["begun"]
    assert held.book.notes[0].endswith("s. No output was lost.\n")
    printed = held.book.of(Stream.STDOUT).decode().splitlines()
    times = len(printed) - 1
    assert printed == [*(f"line {number}" for number in range(times)), "ended"]
    wrong = held.book.of(Stream.STDERR).decode().splitlines()
    assert wrong == [f"wrong {number}" for number in range(times)]


def test_a_file_is_sent_again_over_the_next_link(apart: Place, server: Sshd) -> None:
    held = apart.open()
    server.cut_connections()
    held.host.put(b"x" * 5_000_000, f"{apart.folder}/file")
    assert (apart.folder / "file").stat().st_size == 5_000_000
    assert not list(apart.folder.rglob("*.part"))


def test_a_file_that_is_never_confirmed_is_not_sent_forever(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_running, "PUT_WITHIN", 0.0)
    held = here.open()
    with pytest.raises(RecipeError, match="it was sent 5 times and never confirmed"):
        held.host.put(b"x", f"{here.folder}/file")


def test_a_guard_that_does_not_answer_keeps_no_pipe_open(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.open()
    opened: list[LocalPipe] = []

    def open_pipe(host: LocalHost, line: str) -> LocalPipe:
        opened.append(real_open_pipe(host, line))
        return opened[-1]

    real_open_pipe = LocalHost.open_pipe
    monkeypatch.setattr(LocalHost, "open_pipe", open_pipe)
    monkeypatch.setattr(guard_line, "GREETS_WITHIN", 5.0)
    guard = here.guard()
    os.kill(guard, signal.SIGSTOP)
    with pytest.raises(ConnectionLost, match="did not answer"):
        here.probe()
    (pipe,) = opened
    with pytest.raises(ConnectionLost):
        pipe.receive(0.0)
    os.kill(guard, signal.SIGCONT)
    pipe._process.wait(20)


def test_whoever_lost_the_claim_does_not_connect_again(apart: Place, server: Sshd) -> None:
    is_ours = threading.Event()
    is_ours.set()
    held = apart.open(may_go_on=is_ours.is_set)
    doing = Doing(held.host, waiting_for(apart, "go"))
    wait_until(lambda: has_begun(apart))
    is_ours.clear()
    server.cut_connections()
    doing.end()
    assert isinstance(doing.error, ClaimLost)


def test_a_server_that_does_not_come_back_is_unknown(
    apart: Place, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "RECONNECTS_FOR", 1.0)
    held = apart.open()
    doing = Doing(held.host, waiting_for(apart, "go"))
    wait_until(lambda: has_begun(apart))
    server.stop()
    doing.end()
    assert isinstance(doing.error, ConnectionLost)
    assert "its state is unknown" in str(doing.error)


def test_another_worker_follows_what_one_that_is_gone_began(place: Place) -> None:
    first = place.open()
    command = waiting_for(place, "go", "echo line $i")
    doing = Doing(first.host, command)
    wait_until(lambda: b"line 20" in first.book.of(Stream.STDOUT))

    second = place.open(token=2, who="Bob")
    seen = first.book.of(Stream.STDOUT)
    second.host.begin_step(1, ResumeCursor(command=0, own=0, out=len(seen)))
    following = Doing(second.host, command)
    wait_until(lambda: second.book.of(Stream.STDOUT) != b"")
    (place.folder / "go").touch()
    for each in (following, doing):
        each.end()
    assert isinstance(doing.error, ClaimLost)  # its line was cut, and it may not come again
    assert following.error is None
    printed = (seen + second.book.of(Stream.STDOUT)).decode().splitlines()
    assert printed == [*(f"line {number}" for number in range(len(printed) - 1)), "ended"]
    assert place.lines("begun") == ["begun"]


def test_what_is_handed_over_runs_on(place: Place) -> None:
    held = place.open()
    command = waiting_for(place, "go")
    doing = Doing(held.host, command)
    wait_until(lambda: has_begun(place))
    held.handed_over.set()
    doing.end()
    assert isinstance(doing.error, HandedOver)
    held.host.close()

    (place.folder / "go").touch()
    assert place.open(token=2).host.run(command).stdout == "ended\n"
    assert place.lines("begun") == ["begun"]


def test_a_file_is_not_sent_to_its_end_when_the_work_is_handed_over(place: Place) -> None:
    held = place.open()
    held.handed_over.set()
    with pytest.raises(HandedOver):
        held.host.put(b"x" * 1_000_000, f"{place.folder}/file")
    held.host.close()
    wait_until(place.is_free)
    assert not (place.folder / "file").exists()
    assert not list(place.folder.rglob("*.part"))


def test_what_ended_while_nobody_followed_is_reported(place: Place) -> None:
    held = place.open()
    command = waiting_for(place, "go")
    doing = Doing(held.host, command)
    wait_until(lambda: has_begun(place))
    held.handed_over.set()
    doing.end()
    hang_up(held)
    (place.folder / "go").touch()
    wait_until(place.is_free)

    assert place.open(token=2).host.run(command).stdout == "ended\n"
    assert place.lines("begun") == ["begun"]
