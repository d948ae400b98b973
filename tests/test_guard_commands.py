"""Commands that belong to a guard: they behave as all do, and none is run twice."""

import time
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed, ConnectionLost, RecipeError
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.guard_line import CommandRecord
from deploy_manager.hosts.guarded import ResumeCursor
from tests.parts.guards import Doing, Place
from tests.parts.served import wait_until


def counting(place: Place) -> str:
    """A command that tells how often it was run."""
    return f"echo run >> '{place.folder}/count'; echo out; echo err >&2; exit 3"


def test_output_and_exit_code_come_back(place: Place) -> None:
    held = place.open()
    result = held.host.run("printf 'a\\0\\377b'; echo wrong >&2; exit 7", check=False)
    assert (result.exit_code, result.stdout, result.stderr) == (7, "a\0\ufffdb", "wrong\n")
    assert held.book.of(Stream.STDOUT) == b"a\0\xffb"
    assert held.book.of(Stream.STDERR) == b"wrong\n"
    with pytest.raises(CommandFailed, match="exit code 137"):
        held.host.run("kill -9 $$")


def test_a_command_is_fed_and_its_input_is_kept_nowhere(place: Place) -> None:
    secret = b"topsecret" * 200_000
    printed = place.open().host.run("cksum; wc -c < /dev/null", stdin=secret, quiet=True).stdout
    assert f" {len(secret)}\n" in printed
    kept = [path for path in place.guarded.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"topsecret" in path.read_bytes()]


def test_quiet_output_stays_out_of_the_log(place: Place) -> None:
    held = place.open()
    assert held.host.run("echo hidden", quiet=True).stdout == "hidden\n"
    assert held.book.pieces == []


def test_a_command_that_is_asked_for_again_is_not_run_again(place: Place) -> None:
    first = place.open()
    before = first.host.run(counting(place), check=False)
    first.host.close()

    held = place.open(token=2)
    after = held.host.run(counting(place), check=False)
    assert after == before
    assert held.book.of(Stream.STDERR) == b"err\n"
    assert place.lines("count") == ["run"]
    assert place.probe() == [CommandRecord(1, 0, "ended", 3)]


def test_what_is_stored_of_the_log_does_not_come_again(place: Place) -> None:
    held = place.open()
    held.host.run("echo one")
    held.host.run("echo two; echo three")
    whole = held.book.our_own

    stored = ResumeCursor(command=1, own=len("$ echo one\n"), out=len("two\n"))
    held.book.pieces.clear()
    held.host.begin_step(1, stored)
    assert held.host.run("echo one").stdout == "one\n"
    assert held.host.run("echo two; echo three").stdout == "two\nthree\n"
    assert held.book.our_own == whole[stored.own :]
    assert held.book.of(Stream.STDOUT) == b"three\n"


def test_another_command_in_its_place_begins_afresh(place: Place) -> None:
    held = place.open()
    for word in ("one", "two", "three"):
        held.host.run(f"echo {word}")
    held.host.begin_step(1)
    assert held.host.run("echo one").stdout == "one\n"
    assert held.host.run("echo other").stdout == "other\n"
    assert [(each.step, each.index) for each in place.probe()] == [(1, 0), (1, 1)]


def test_a_step_that_runs_once_only_refuses_other_commands_than_before(place: Place) -> None:
    held = place.open()
    held.host.run("echo one")
    held.host.begin_step(1, once=True)
    with pytest.raises(ConnectionLost, match="runs another command than before"):
        held.host.run("echo other")


def test_looking_around_is_no_part_of_the_work(place: Place) -> None:
    held = place.open()
    for number in range(3):
        printed = held.host.look(f"echo seen >> '{place.folder}/seen'; echo {number}").stdout
        assert printed == f"{number}\n"
    held.cancelled.set()
    assert held.host.look("echo after").stdout == "after\n"
    assert held.book.pieces == []
    assert place.lines("seen") == ["seen"] * 3
    assert place.probe() == []


def test_looking_does_not_wait_for_a_command_that_an_earlier_worker_left(place: Place) -> None:
    first = place.open()
    doing = Doing(first.host, f"touch '{place.folder}/begun'; sleep 60")
    wait_until((place.folder / "begun").exists)
    second = place.open(token=2)
    since = time.monotonic()
    with pytest.raises(RecipeError, match="still runs"):
        second.host.look("echo seen")
    assert time.monotonic() - since < 5
    doing.end()


def test_files_are_put_whole_or_not_at_all(place: Place) -> None:
    held = place.open()
    content = bytes(range(256)) * 5000
    with held.host.cd(str(place.folder)):
        held.host.put(content, "file", 0o640)
    assert (place.folder / "file").read_bytes() == content
    assert (place.folder / "file").stat().st_mode & 0o777 == 0o640
    (place.folder / "taken").mkdir()
    for target in ("missing/file", "taken"):
        with pytest.raises(RecipeError, match=r"could not be written on (here|web1): \S+"):
            held.host.put(b"new", f"{place.folder}/{target}")
    assert not list(place.folder.rglob("*.part"))
    assert held.host.run("echo works on").stdout == "works on\n"


def test_a_local_file_is_put(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"\0" * 3_000_000)
    place.open().host.put(source, f"{place.folder}/copy")
    assert (place.folder / "copy").stat().st_size == 3_000_000


def test_a_daemon_holds_neither_the_step_nor_the_lock(place: Place) -> None:
    held = place.open()
    try:
        pid = held.host.run("setsid sleep 60 & echo $!").stdout.strip()
        held.host.close()
        wait_until(place.is_free)
        assert Path(f"/proc/{pid}").exists()
    finally:
        place.open(token=2).host.run(f"kill {pid}")


def test_a_deploy_path_may_be_long_and_full_of_blanks_and_quotes(place: Place) -> None:
    folder = place.folder / ('it\'s a "long" $(path) of `ticks` ' + "x" * 170)
    odd = Place(place.address, folder)
    held = odd.open()
    assert held.host.run(["echo", "there"]).stdout == "there\n"
    assert odd.probe() == [CommandRecord(1, 0, "ended", 0)]
    odd.end()


def test_what_keeps_the_guard_from_starting_is_reported_in_the_servers_words(place: Place) -> None:
    with pytest.raises(RecipeError, match=r"can't start the guard: .*no-such-python"):
        place.open(python="/no-such-python")
    (place.folder / "file").touch()
    with pytest.raises(RecipeError, match=r"(?i)not a directory"):
        Place(place.address, place.folder / "file").open()


def test_a_command_too_long_to_start_is_reported_and_can_be_mended(place: Place) -> None:
    held = place.open()
    with pytest.raises(RecipeError, match="could not be started: Argument list too long"):
        held.host.run(f"true {'x' * 3_000_000}")
    assert place.probe() == []
