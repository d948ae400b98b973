"""A guard ends a command with all that it started, and never claims more than was seen."""

import json
import os
import shlex
import signal
import subprocess
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


def test_a_stranger_with_the_number_of_a_group_of_ours_is_left_alone(here: Place) -> None:
    held, doing = began(here, FAMILY)
    held.handed_over.set()
    doing.end()
    here.kill_guard()
    (group,) = here.groups()
    os.killpg(group, signal.SIGKILL)
    (file,) = here.guarded.glob("journal/*/*/command.json")
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"group": stranger.pid}))
        assert here.open(deployment=2, begin_number=2).host.run("echo begun").stdout == "begun\n"
        here.hosts[-1].close()
        wait_until(here.is_free)
        after = here.open(token=2, begin_number=3)
        with pytest.raises(ConnectionLost, match="it was not seen to end"):
            after.host.run(FAMILY)
        after.cancelled.set()
        with pytest.raises(Cancelled):
            after.host.run("echo more")
        assert stranger.poll() is None
        stranger.kill()


def test_what_outlives_its_leader_is_ended_whatever_it_has_forgotten(here: Place) -> None:
    held = here.open()
    chatting = "trap '' TERM; while :; do echo $$; sleep 0.1; done"
    with pytest.raises(CommandTimedOut, match="with its whole process group"):
        held.host.run(f"env -i /bin/sh -c {shlex.quote(chatting)} &", timeout=0.7)
    assert not is_running(pids(held)[0])


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
