"""What the demo runs is started again when it dies, and the person is told."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.demo import demo_module
from tests.parts.served import wait_until

processes = demo_module("processes")

SLEEPS = ("timeit", "-n1", "-r1", "print('began'); __import__('time').sleep(60)")
FAILS = ("timeit", "-n1", "-r1", "print('began', flush=True); raise SystemExit(1)")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def running(tmp_path: Path, told: list[str]) -> Iterator[Any]:
    with processes.Processes(tmp_path, told.append, pauses=(0.1, 0.2)) as started:
        yield started


def pid_of(running: Any, name: str) -> Any:
    return next(part.process.pid for part in running._parts if part.name == name)


def test_what_is_killed_comes_back_and_the_person_is_reported(
    running: Any, told: list[str], tmp_path: Path
) -> None:
    running.start("worker", *SLEEPS)
    running.start("web", *SLEEPS)
    killed, other = pid_of(running, "worker"), pid_of(running, "web")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: pid_of(running, "worker") != killed)
    assert pid_of(running, "web") == other
    assert told == [
        "The worker ended (signal SIGKILL) and is started again in 0.1 s; its log:"
        f" {tmp_path}/worker.log"
    ]
    assert running.given_up() == ""


def test_what_ends_by_itself_is_started_again_too(running: Any, told: list[str]) -> None:
    running.start("beat", "timeit", "-n1", "-r1", "pass")
    wait_until(lambda: bool(told))
    assert told[0].startswith("The beat ended (exit 0) and is started again")


def test_what_ends_again_and_again_is_given_up_aloud(
    running: Any, told: list[str], tmp_path: Path
) -> None:
    running.start("other", *SLEEPS)
    running.start("worker", *FAILS)
    began = time.monotonic()
    wait_until(lambda: bool(running.given_up()))
    assert time.monotonic() - began > 0.3
    assert [line.partition(" and ")[0] for line in told[:2]] == ["The worker ended (exit 1)"] * 2
    assert "3 times in a row, and is not started again" in told[2]
    assert running.given_up().startswith("The worker ended 3 times:\n")
    os.kill(pid_of(running, "other"), 0)  # it ends nothing else


def test_the_log_keeps_what_was_printed_before_it_died(running: Any, tmp_path: Path) -> None:
    running.start("worker", *FAILS)
    wait_until(lambda: bool(running.given_up()))
    assert (tmp_path / "worker.log").read_text().splitlines().count("began") == 3


def test_nothing_is_left_running(tmp_path: Path) -> None:
    told: list[str] = []
    with processes.Processes(tmp_path, told.append, pauses=(0.1,)) as running:
        running.start("worker", *SLEEPS)
        os.kill(pid_of(running, "worker"), signal.SIGKILL)
        pid = pid_of(running, "worker")
        wait_until(lambda: pid_of(running, "worker") != pid)
        pid = pid_of(running, "worker")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def sleep_as_site(folder: Path, argument: str) -> subprocess.Popen[bytes]:
    """Start a process that the site's pid file names, and wait until it shows its command line."""
    process = subprocess.Popen([sys.executable, "-c", SLEEPS[-1], argument])
    (folder / ".deploy").mkdir(parents=True)
    (folder / ".deploy/gunicorn.pid").write_text(f"{process.pid}\n")
    command_line = Path(f"/proc/{process.pid}/cmdline")
    wait_until(lambda: argument.encode() in command_line.read_bytes())
    return process


def test_the_sites_of_servers_added_by_hand_are_ended_as_well(tmp_path: Path) -> None:
    sites = [tmp_path / name for name in ("sites/one", "sites/five", "sites", "elsewhere/six")]
    started = [sleep_as_site(site, str(site)) for site in sites]
    # Their pid files are older than the processes that have these ids by now.
    others = [
        sleep_as_site(tmp_path / name, argument)
        for name, argument in (
            ("sites/seven", "other"),
            ("sites/web1", f"{tmp_path}/sites/web10"),
        )
    ]
    try:
        processes.end_sites(tmp_path)
        assert [process.poll() for process in started] == [-signal.SIGTERM] * len(sites)
        assert [process.poll() for process in others] == [None] * len(others)
    finally:
        for process in (*started, *others):
            process.kill()
            process.wait()
