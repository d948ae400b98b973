"""Time-outs and cancels end all that a command started; a dead link is told as unknown."""

import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_manager.exceptions import (
    Cancelled,
    CommandTimedOut,
    ConnectionLost,
    HostUnreachable,
)
from deploy_manager.hosts import shell
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.remote.guard.groups import MARK, Group, began_at
from tests.parts.hosts import Log, OpenAddress, Opened, is_running
from tests.parts.served import wait_until
from tests.parts.sshd import StartSshd

FAMILY = """
sleep 60 & echo $!
(sleep 60; true) & echo $!
echo $$
sleep 60
"""
"""A shell and two children, one of them with a child of its own."""

STUBBORN_FAMILY = f"trap '' TERM; {FAMILY}"


def _pids(log: Log) -> list[int]:
    return [int(line) for line in log.of(Stream.STDOUT).split()]


@pytest.fixture
def cancel_soon(opened: Opened) -> Iterator[None]:
    """Cancels as soon as the family has told its process ids."""
    thread = threading.Thread(target=_cancel_when_printed, args=(opened, 3))
    thread.start()
    yield
    thread.join()


def _cancel_when_printed(opened: Opened, lines: int) -> None:
    deadline = time.monotonic() + 10
    while len(_pids(opened.log)) < lines and time.monotonic() < deadline:
        time.sleep(0.01)
    opened.cancelled.set()


def test_a_time_out_ends_all_that_the_command_started(opened: Opened) -> None:
    with pytest.raises(CommandTimedOut, match=r"within 0\.5 s and was stopped, with its whole"):
        opened.host.run(STUBBORN_FAMILY, timeout=0.5)

    pids = _pids(opened.log)
    assert len(pids) == 3
    assert not any(is_running(pid) for pid in pids)


def test_the_host_works_on_after_a_time_out(opened: Opened) -> None:
    with pytest.raises(CommandTimedOut):
        opened.host.run("sleep 60", timeout=0.2)

    assert opened.host.run("echo still here").stdout == "still here\n"


@pytest.mark.usefixtures("cancel_soon")
def test_a_cancel_ends_all_that_the_command_started(opened: Opened) -> None:
    with pytest.raises(Cancelled, match="was stopped, with its whole process group"):
        opened.host.run(FAMILY)

    assert not any(is_running(pid) for pid in _pids(opened.log))


def test_a_cancel_is_noticed_within_half_a_second(opened: Opened) -> None:
    # A busy machine may be late now and then: who looks too seldom is late each time.
    assert any(_seconds_to_notice(opened) < 0.5 + 0.3 for _ in range(5))


def _seconds_to_notice(opened: Opened) -> float:
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        opened.cancelled.set()

    opened.cancelled.clear()
    threading.Timer(0.3, cancel).start()
    with pytest.raises(Cancelled):
        opened.host.run("sleep 60")
    return time.monotonic() - cancelled_at[0]


def test_the_last_words_of_a_stopped_command_are_in_the_log(opened: Opened) -> None:
    with pytest.raises(CommandTimedOut):
        opened.host.run("trap 'echo cleaned up; exit 1' TERM; sleep 60 & wait", timeout=0.3)

    assert opened.log.of(Stream.STDOUT) == b"cleaned up\n"


def test_a_command_whose_output_nobody_takes_is_stopped(opened: Opened) -> None:
    marker = opened.folder / secrets.token_hex(4)

    def refuse(stream: Stream, data: bytes) -> None:
        opened.log(stream, data)
        if stream is Stream.STDOUT:
            raise RuntimeError("the writer is gone")

    opened.host._sink = refuse  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="the writer is gone"):
        opened.host.run(f"echo $$; sleep 1; touch {marker}")

    assert not is_running(_pids(opened.log)[0])
    assert not marker.exists()


@pytest.fixture(params=[b"\xff\xfe", b"a\nb", b"a) Z 1 (\n", "é".encode()])
def oddly_named(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Group]:
    """The group of a process that ignores TERM and whose name is not one line of plain text."""
    program = os.fsencode(tmp_path) + b"/" + request.param
    shutil.copy("/bin/sleep", program)
    ignoring = [b"/bin/sh", b"-c", b"trap '' TERM; exec \"$1\" 60", b"sh", program]
    process = subprocess.Popen(ignoring, start_new_session=True)
    name = Path(f"/proc/{process.pid}/comm")
    wait_until(lambda: name.read_bytes() == request.param + b"\n")
    yield Group(process.pid, began_at(process.pid), "")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_group_is_seen_to_run_whatever_its_programs_are_named(oddly_named: Group) -> None:
    assert oddly_named.lives
    oddly_named.kill()
    wait_until(lambda: not oddly_named.lives)  # a zombie of ours by now


@pytest.mark.parametrize("sh", ["sh", "bash", "mksh", "ksh"])
def test_a_group_is_ended_whatever_its_programs_are_named(oddly_named: Group, sh: str) -> None:
    if not shutil.which(sh):
        pytest.skip(f"{sh} is not installed")
    command = [sh, *shell.stop_command(oddly_named.number)[1:]]
    assert subprocess.run(command, check=False, timeout=30).returncode == 0
    assert not oddly_named.lives


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group, and has nothing to do with ours."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_group_with_a_reused_number_is_not_ours(stranger: "subprocess.Popen[bytes]") -> None:
    before = Group(stranger.pid, began_at(stranger.pid) - 1, "ours")
    assert not before.lives
    before.kill()
    assert stranger.poll() is None
    assert Group(stranger.pid, began_at(stranger.pid), "ours").lives


def test_a_group_without_its_leader_is_known_by_its_mark() -> None:
    leader = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 60 & echo"],
        env={**os.environ, MARK: "ours"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    began = began_at(leader.pid)
    with leader:
        assert leader.stdout is not None
        leader.stdout.readline()
    others, ours = (Group(leader.pid, began, mark) for mark in ("others", "ours"))
    assert not others.lives
    others.kill()
    assert ours.lives
    ours.kill()
    wait_until(lambda: not ours.lives)


@pytest.mark.as_root
def test_a_group_whose_last_process_changed_its_user_is_not_said_to_be_gone() -> None:
    """As of `sudo systemctl …` once the shell that ran it was killed; asked by an account."""
    leader = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 60 & echo"], stdout=subprocess.PIPE, start_new_session=True
    )
    began = began_at(leader.pid)
    with leader:
        assert leader.stdout is not None
        leader.stdout.readline()
    group = Group(leader.pid, began, "ours")
    try:
        account = os.fork()
        if account == 0:
            os.seteuid(65534)
            group.kill()
            os._exit(0 if group.lives else 1)
        assert os.waitpid(account, 0)[1] == 0
    finally:
        os.killpg(leader.pid, signal.SIGKILL)


def test_a_connection_that_ends_in_a_command_leaves_its_end_unknown(
    start_sshd: StartSshd, open_address: OpenAddress
) -> None:
    server = start_sshd()
    opened = open_address(server.address_for("web1"))
    threading.Thread(target=_cut_when_printed, args=(server.cut_connections, opened.log)).start()

    with pytest.raises(ConnectionLost, match=r"web1 was lost during a command.*unknown"):
        opened.host.run("echo begun; sleep 3")

    assert opened.log.of(Stream.STDOUT) == b"begun\n"
    with pytest.raises(HostUnreachable, match="was not started") as caught:
        opened.host.run("echo never")
    assert not isinstance(caught.value, ConnectionLost)


def _cut_when_printed(cut: object, log: Log) -> None:
    assert callable(cut)
    while not log.of(Stream.STDOUT):
        time.sleep(0.01)
    cut()
