"""The broker in a folder: what is sent arrives once, whoever is killed or slow meanwhile."""

import builtins
import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

import deploy_manager.embedded  # noqa: F401  names it to kombu

TOP = Path(__file__).parent.parent

WORKS = """
import json, sys, time
from kombu import Connection
import deploy_manager.embedded

url, options, what, key, count = sys.argv[1:]
with Connection(url, transport_options=json.loads(options)) as connection:
    channel = connection.default_channel
    if what == "send":
        for number in range(int(count)):
            channel._put("jobs", {"key": f"{key}-{number}"})
    until = time.monotonic() + 30
    while what == "receive" and time.monotonic() < until:
        try:
            print(channel._get("jobs")["key"], flush=True)
        except Exception as error:
            if type(error).__name__ != "Empty":
                raise
            time.sleep(0.01)
"""

TWO_ACCOUNTS = """
import os, sys
from kombu import Connection
import deploy_manager.embedded

folder, account = sys.argv[1], int(sys.argv[2])

def become(number):
    os.seteuid(0)
    os.setegid(number)
    os.seteuid(number)

def channel():
    return Connection("embedded://", transport_options={"folder": folder}).default_channel

become(account)
worker = channel()
become(0)
os.umask(0o077)
channel()._put("jobs", {"key": "by-root"})
channel()._put("jobs", {"key": "unreadable"})
name = sorted(os.listdir(f"{folder}/queues/=jobs"))[1]
os.chown(f"{folder}/queues/=jobs/{name}", 0, 0)
become(account)
worker._put("jobs", {"key": "by-the-account"})
for _ in range(3):
    try:
        print(worker._get("jobs")["key"])
    except Exception as error:
        print(type(error).__name__)
"""
STRANGER = 54321


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


@pytest.fixture
def connect(folder: Path) -> Iterator[Callable[[], Connection]]:
    made: list[Connection] = []

    def make() -> Connection:
        connection = Connection("embedded://", transport_options={"folder": str(folder)})
        made.append(connection)
        return connection

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def channel(connect: Callable[[], Connection]) -> Any:
    return connect().default_channel


def kombus_own(folder: Path) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    return {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
    }


class SlowFile:
    """A file whose writes take a while in their middle, as on a machine with much to do."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "SlowFile":
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        half = len(data) // 2
        self._file.write(data[:half])
        time.sleep(0.3)
        self._file.write(data[half:])


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.open

    def slow(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = real(path, mode, *args, **options)
        return SlowFile(file) if "b" in mode and ("w" in mode or "x" in mode) else file

    monkeypatch.setattr(builtins, "open", slow)


def poll(channel: Any, queue: str, seconds: float = 5) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            return channel._get(queue)
        except Empty:
            time.sleep(0.01)
    raise Empty


def send_slowly_and_poll(connection: Connection) -> Any:
    with connection:
        sender: Any = connection.channel()
        reader: Any = connection.channel()
        thread = threading.Thread(target=sender._put, args=("jobs", {"key": "whole"}))
        thread.start()
        try:
            return poll(reader, "jobs")
        finally:
            thread.join()


def test_a_message_that_is_still_being_written_is_not_read(slow_writes: None, folder: Path) -> None:
    connection = Connection("embedded://", transport_options={"folder": str(folder)})
    assert send_slowly_and_poll(connection) == {"key": "whole"}


def test_kombus_own_transport_reads_half_a_message(slow_writes: None, folder: Path) -> None:
    """Why there is one of ours: once this fails it may go."""
    connection = Connection("filesystem://", transport_options=kombus_own(folder))
    with pytest.raises(json.JSONDecodeError):
        send_slowly_and_poll(connection)


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    options = json.dumps({"folder": str(folder)})
    command = [sys.executable, "-c", WORKS, "embedded://", options, *words]
    return subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True)


def test_what_processes_send_at_once_each_arrives_once(folder: Path, channel: Any) -> None:
    senders = [start(folder, "send", key, "500") for key in ("one", "two")]
    readers = [start(folder, "receive", "", "0") for _ in range(2)]
    for sender in senders:
        sender.communicate(timeout=60)
    assert [sender.returncode for sender in senders] == [0, 0]
    until = time.monotonic() + 30
    while channel._size("jobs") and time.monotonic() < until:
        time.sleep(0.05)
    assert [reader.poll() for reader in readers] == [None, None]
    time.sleep(0.3)  # for what was taken and is not printed yet
    for reader in readers:
        reader.terminate()
    received = "".join(reader.communicate()[0] for reader in readers).split()
    assert sorted(received) == sorted(f"{key}-{n}" for key in ("one", "two") for n in range(500))


def test_messages_come_in_the_order_in_which_they_were_sent(channel: Any) -> None:
    for number in range(20):
        channel._put("jobs", {"number": number})
    assert [channel._get("jobs")["number"] for _ in range(20)] == list(range(20))
    with pytest.raises(Empty):
        channel._get("jobs")


@pytest.mark.parametrize("content", [b"", b'{"half', b"\xff\xfe"])
def test_a_message_that_power_was_lost_on_is_passed_over(
    content: bytes, channel: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    channel._put("jobs", {"key": "first"})
    (path,) = (folder / "queues" / "=jobs").iterdir()
    path.write_bytes(content)
    channel._put("jobs", {"key": "second"})
    with caplog.at_level(logging.WARNING):
        assert channel._get("jobs") == {"key": "second"}
    assert "can't be read" in caplog.text
    assert channel._size("jobs") == 0


def _folder_instead(path: Path) -> None:
    path.mkdir()


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [_folder_instead, _link_to_itself])
def test_what_cannot_be_read_is_passed_over_with_one_warning_and_arrives_once_it_can(
    make: Callable[[Path], None], channel: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    channel._put("jobs", {"key": "first"})
    (path,) = (folder / "queues" / "=jobs").iterdir()
    kept = path.rename(folder / "kept")
    make(path)
    channel._put("jobs", {"key": "second"})
    with caplog.at_level(logging.WARNING):
        assert channel._get("jobs") == {"key": "second"}
        for _ in range(3):
            with pytest.raises(Empty):
                channel._get("jobs")
    (warning,) = caplog.messages
    assert str(path) in warning
    assert "Give it to that account, or remove it." in warning
    path.unlink() if path.is_symlink() else path.rmdir()
    kept.rename(path)
    assert channel._get("jobs") == {"key": "first"}


def test_what_cannot_be_removed_is_nobodys_and_keeps_nobody_from_sending(
    channel: Any, folder: Path
) -> None:
    queue = Queue("events", Exchange("told", type="fanout"), message_ttl=0.05)(channel)
    queue.declare()
    (folder / "queues" / "=events" / f"{0:020}-expired").mkdir(parents=True)
    channel._put("events", {"key": "sent"})
    assert channel._get("events") == {"key": "sent"}
    assert channel._purge("events") == 0


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o000], ids=oct)
@pytest.mark.parametrize("mode", [0o700, 0o2770, 0o750], ids=oct)
def test_files_are_as_accessible_as_the_folder_whatever_the_umask(
    mode: int, umask: int, connect: Callable[[], Connection], folder: Path
) -> None:
    folder.mkdir()
    folder.chmod(mode)
    before = os.umask(umask)
    try:
        fill(connect().channel())
    finally:
        os.umask(before)
    found = list(folder.rglob("*"))
    holding = {path.parent.name for path in found if path.is_file()}
    assert holding == {"=events", "=told", "lifetimes"}
    for path in found:
        expected = mode if path.is_dir() else mode & 0o666
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def fill(channel: Any) -> None:
    """Have the folder contain everything that it can: a lifetime, a binding and a message."""
    channel._new_queue("events", arguments={"x-message-ttl": 60_000})
    channel._queue_bind("told", "", "", "events")
    channel._put_fanout("told", {"key": "all"}, "")


@pytest.mark.as_root
def test_what_root_sends_belongs_to_the_account_of_the_folder(
    connect: Callable[[], Connection], folder: Path
) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, STRANGER, STRANGER)
    fill(connect().channel())
    found = [path.stat() for path in folder.rglob("*")]
    assert len(found) == 9
    assert {(facts.st_uid, facts.st_gid) for facts in found} == {(STRANGER, STRANGER)}


@pytest.mark.as_root
def test_a_message_of_another_account_stops_no_other(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as top:
        os.chown(top, STRANGER, STRANGER)
        command = [sys.executable, "-c", TWO_ACCOUNTS, f"{top}/broker", str(STRANGER)]
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["by-root", "by-the-account", "Empty"], done.stderr
    assert done.stderr.count("Permission denied") == 1


def test_what_a_killed_writer_left_is_removed_after_an_hour(
    connect: Callable[[], Connection], channel: Any, folder: Path
) -> None:
    (folder / "parts" / "old-folder").mkdir()
    os.utime(folder / "parts" / "old-folder", (time.time() - 3700,) * 2)
    for name, age in (("old", 3700), ("new", 60)):
        (folder / "parts" / name).touch()
        os.utime(folder / "parts" / name, (time.time() - age,) * 2)
    connect().ensure_connection()
    assert [path.name for path in (folder / "parts").iterdir()] == ["new"]


def test_a_folder_that_is_emptied_below_a_worker_is_made_again(channel: Any, folder: Path) -> None:
    channel._put("jobs", {"key": "before"})
    subprocess.run(["rm", "-rf", str(folder / "queues")], check=True)
    with pytest.raises(Empty):
        channel._get("jobs")
    channel._put("jobs", {"key": "after"})
    assert channel._get("jobs") == {"key": "after"}


def test_what_is_reported_to_all_reaches_each_that_listens(
    connect: Callable[[], Connection],
) -> None:
    told = Exchange("told", type="fanout")
    channels: list[Any] = [connect().channel() for _ in range(3)]
    queues = [Queue(f"listener-{n}", told)(channels[n]) for n in range(3)]
    for queue in queues:
        queue.declare()
    queues[2].unbind_from(told)
    sender = connect()
    sender.Producer(exchange=told, serializer="json").publish({"key": "all"})
    assert [queue.get() is not None for queue in queues] == [True, True, False]
    queues[1].delete()
    sender.Producer(exchange=told, serializer="json").publish({"key": "all"})
    assert [channels[0]._size(f"listener-{n}") for n in range(3)] == [1, 0, 0]


def test_a_table_that_was_spoilt_keeps_nobody_from_sending(channel: Any, folder: Path) -> None:
    channel._queue_bind("told", "", "", "jobs")
    (folder / "exchanges" / "=told" / "spoilt").write_bytes(b"[half")
    (folder / "exchanges" / "=told" / "unreadable").mkdir()
    (folder / "lifetimes" / "=jobs").mkdir(parents=True)
    channel._put_fanout("told", {"key": "all"}, "")
    assert channel._get("jobs") == {"key": "all"}


def test_messages_to_who_is_gone_do_not_fill_the_disk(channel: Any) -> None:
    queue = Queue("events", Exchange("told", type="fanout"), message_ttl=0.05)(channel)
    queue.declare()
    for number in range(50):
        channel._put_fanout("told", {"number": number}, "")
        time.sleep(0.01)
    assert channel._size("events") < 20


@pytest.mark.parametrize("name", ["../../out", "..", ".", "", "a/b", "celery@host.celery.pidbox"])
def test_no_name_of_a_queue_leads_out_of_the_folder(
    name: str, channel: Any, folder: Path, tmp_path: Path
) -> None:
    channel._put(name, {"key": "in"})
    channel._queue_bind(name, "", "", name)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert all(path.resolve().is_relative_to(folder) for path in files)
    assert channel._get(name) == {"key": "in"}


def test_nobody_else_may_look_into_the_folder(channel: Any, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_is_reported(folder: Path) -> None:
    folder.write_text("a file")
    connection = Connection("embedded://", transport_options={"folder": str(folder)})
    with pytest.raises(OperationalError, match="can't be used"):
        connection.ensure_connection(max_retries=1)
