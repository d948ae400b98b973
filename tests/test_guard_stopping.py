"""A guard ends a command with all that it started, and never claims more than was seen."""

import time

import pytest

from deploy_manager.exceptions import Cancelled, CommandTimedOut, ConnectionLost
from deploy_manager.hosts import guarded
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.guard_line import CommandRecord
from tests.parts.guards import Doing, Held, Place
from tests.parts.hosts import is_running
from tests.parts.matrices import few
from tests.parts.served import wait_until
from tests.parts.sshd import Sshd
from tests.test_hosts_stopping import FAMILY, STUBBORN_FAMILY

QUIET_CHILD = "(trap '' TERM; exec sleep 60 >/dev/null 2>&1) & echo $!; echo $!; echo $!; wait"
"""Its child ignores TERM and holds no pipe: only its group tells of it."""


def pids(held: Held) -> list[int]:
    return [int(line) for line in held.book.of(Stream.STDOUT).split()]


def began(place: Place, command: str) -> tuple[Held, Doing]:
    held = place.open()
    doing = Doing(held.host, command)
    wait_until(lambda: len(pids(held)) == 3)
    return held, doing


@pytest.mark.parametrize("command", few(STUBBORN_FAMILY, QUIET_CHILD, FAMILY, first=2))
def test_a_cancel_ends_all_that_a_command_started(place: Place, command: str) -> None:
    held, doing = began(place, command)
    since = time.monotonic()
    held.cancelled.set()
    doing.end()
    assert time.monotonic() - since < 5
    assert isinstance(doing.error, Cancelled)
    assert not any(map(is_running, pids(held)))
    with pytest.raises(Cancelled):
        held.host.run("echo more")
    assert held.host.look("echo looked").stdout == "looked\n"


def test_what_it_says_when_it_ends_is_kept(place: Place) -> None:
    held, doing = began(place, f"trap 'echo 1; exit' TERM; {FAMILY.replace('sleep 60', 'sleep 3')}")
    held.cancelled.set()
    doing.end()
    assert pids(held)[3:] == [1]


def test_a_time_out_ends_all_that_a_command_started(place: Place) -> None:
    held = place.open()
    with pytest.raises(CommandTimedOut, match="with its whole process group"):
        held.host.run(STUBBORN_FAMILY, timeout=0.5)
    assert not any(map(is_running, pids(held)))
    assert held.host.run("echo works on").stdout == "works on\n"


def test_a_command_is_kept_to_its_limit_while_nobody_follows_it(here: Place) -> None:
    held = here.open()
    doing = Doing(held.host, STUBBORN_FAMILY, timeout=1.0)
    wait_until(lambda: len(pids(held)) == 3)
    held.handed_over.set()
    doing.end()
    held.host.close()
    wait_until(lambda: not any(map(is_running, pids(held))))
    assert here.probe() == [CommandRecord(1, 0, "ended", 137)]


def test_a_cancel_ends_what_a_worker_that_is_gone_left(place: Place) -> None:
    held, doing = began(place, FAMILY)
    held.handed_over.set()
    doing.end()
    after = place.open(token=2)
    after.cancelled.set()
    with pytest.raises(Cancelled):
        after.host.run(FAMILY)
    assert not any(map(is_running, pids(held)))


def test_a_cancel_ends_what_a_guard_that_is_gone_left(place: Place) -> None:
    held, doing = began(place, FAMILY)
    held.handed_over.set()
    doing.end()
    place.kill_guard()
    assert all(map(is_running, pids(held)))
    after = place.open(token=2)
    after.cancelled.set()
    with pytest.raises(Cancelled):
        after.host.run(FAMILY)
    assert not any(map(is_running, pids(held)))


def test_what_cannot_be_reached_is_not_called_cancelled(
    apart: Place, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "RECONNECTS_TO_STOP_FOR", 1.0)
    held, doing = began(apart, FAMILY)
    server.stop()
    held.cancelled.set()
    doing.end()
    assert isinstance(doing.error, ConnectionLost)
    assert all(map(is_running, pids(held)))
