"""Who may work on a deploy path: one deployment, under its highest token, while its guard lives."""

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, flock
from threading import Event
from typing import Any

import pytest

from deploy_manager.exceptions import ClaimLost, ConnectionLost, ServerBusy
from deploy_manager.hosts import guard_line
from deploy_manager.hosts.guard_line import CommandRecord
from deploy_manager.hosts.remote.guard import relay
from tests.parts.guards import Doing, Place, has_begun, waiting_for
from tests.parts.hosts import is_running
from tests.parts.matrices import few
from tests.parts.served import wait_until

OTHER: dict[str, Any] = {"key": "other", "who": "Bob", "what": "Deploy of blog/production"}
STALE: list[dict[str, Any]] = [{"token": 2}, {"deployment": 9, "begin_number": 0, "token": 9}]


def test_a_lower_token_is_refused(place: Place) -> None:
    newer = place.open(token=3)
    for stale in STALE:
        with pytest.raises((ClaimLost, ServerBusy)):
            place.open(**stale)
    newer.host.close()
    wait_until(place.is_free)
    for stale in STALE:
        with pytest.raises(ClaimLost):
            place.open(**stale)


def test_who_was_overtaken_can_do_nothing_more(place: Place) -> None:
    older = place.open(token=1)
    place.open(token=2)
    with pytest.raises(ClaimLost):
        older.host.run(f"touch '{place.folder}/traces'")
    with pytest.raises(ClaimLost):
        older.host.put(b"", f"{place.folder}/traces")
    assert not (place.folder / "traces").exists()


@pytest.mark.parametrize("other", [OTHER, {**OTHER, "key": "site", "deployment": 2}])
def test_a_second_comer_is_reported_who_works_there(place: Place, other: dict[str, Any]) -> None:
    place.open()
    began = time.monotonic()
    with pytest.raises(ServerBusy) as refused:
        place.open(**other)
    assert time.monotonic() - began < 2
    said = r"is busy there: Deploy of shop/production by Ann, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(said, str(refused.value))


def test_a_deployment_waits_for_a_start_of_processes(here: Place) -> None:
    here.open().host.close()
    wait_until(here.is_free)
    with ThreadPoolExecutor() as pool:
        with (here.guarded / "lock").open() as lock:
            # As remote/processes/alone.py does.
            flock(lock, LOCK_EX)
            (here.guarded / "holder.json").write_text('{"is_brief": true}')
            opened = pool.submit(here.open)
            time.sleep(relay.BUSY_AFTER + 0.5)
            assert not opened.done()
        opened.result().host.run("true")


def test_the_path_is_free_as_soon_as_the_work_is_closed(place: Place) -> None:
    place.open().host.close()
    place.open(**OTHER).host.close()
    wait_until(place.is_free)
    assert not place.guard()


def test_the_path_is_free_soon_after_the_worker_is_gone(place: Place) -> None:
    held = place.open()
    held.host.drop_line()
    began = time.monotonic()
    wait_until(place.is_free)
    assert time.monotonic() - began < 5


def test_the_path_is_held_as_long_as_the_command_that_was_left(place: Place) -> None:
    held = place.open()
    doing = Doing(held.host, waiting_for(place, "go"))
    wait_until(lambda: has_begun(place))
    held.handed_over.set()
    doing.end()
    held.host.close()
    with pytest.raises(ServerBusy):
        place.open(**OTHER)
    (place.folder / "go").touch()
    began = time.monotonic()
    wait_until(place.is_free)
    assert time.monotonic() - began < 5
    place.open(**OTHER)


@pytest.mark.parametrize("races", few(5, 20))
def test_of_two_that_come_at_once_one_is_let_in(here: Place, races: int) -> None:
    for race in range(races):
        comers = [{"key": key, "deployment": race + 1} for key in ("one", "two")]
        let_in: list[Any] = []
        refused: list[ServerBusy] = []
        start = threading.Barrier(2)

        def come(changes: dict[str, Any]) -> None:
            start.wait()  # noqa: B023
            try:
                let_in.append(here.open(**changes))  # noqa: B023
            except ServerBusy as error:
                refused.append(error)  # noqa: B023

        threads = [threading.Thread(target=come, args=(changes,)) for changes in comers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(let_in), len(refused)) == (1, 1)
        assert "by Ann, since" in str(refused[0])
        let_in[0].host.close()


def test_a_worker_that_was_stopped_too_long_is_cut_off(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hello = guard_line._hello

    def impatient(*arguments: Any, **more: Any) -> dict[str, Any]:
        return {**hello(*arguments, **more), "lease": 0.5}

    monkeypatch.setattr(guard_line, "_hello", impatient)
    monkeypatch.setattr(guard_line, "PING_EVERY", 60.0)  # as if it were stopped
    held = here.open(may_go_on=lambda: False)
    wait_until(here.is_free)
    with pytest.raises(ClaimLost):
        held.host.run(f"touch '{here.folder}/traces'")
    assert not (here.folder / "traces").exists()


def test_what_a_killed_guard_left_is_unknown_and_ended(place: Place) -> None:
    may_come_back = Event()
    held = place.open(may_go_on=lambda: may_come_back.wait(60))
    doing = Doing(held.host, waiting_for(place, "go"))
    wait_until(lambda: has_begun(place))
    (group,) = place.groups()
    place.kill_guard()
    with pytest.raises(ServerBusy, match="Deploy of shop/production by Ann"):
        Place(place.address, place.folder).open(**OTHER)
    may_come_back.set()
    doing.end()
    assert isinstance(doing.error, ConnectionLost)
    assert "it was not seen to end" in str(doing.error)
    wait_until(lambda: not is_running(group))
    assert place.lines("begun") == ["begun"]
    assert place.probe() == [CommandRecord(1, 0, "unknown", None)]


def test_what_ran_before_the_server_was_started_anew_is_unknown(place: Place) -> None:
    held = place.open()
    doing = Doing(held.host, waiting_for(place, "go"))
    wait_until(lambda: has_begun(place))
    assert place.probe() == [CommandRecord(1, 0, "running", None)]
    held.handed_over.set()
    doing.end()
    place.kill_guard()
    file = place.guarded / "journal/site-1/1-0/command.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "boot": "another"}))

    assert place.probe() == [CommandRecord(1, 0, "unknown", None)]
    with pytest.raises(ConnectionLost, match="it was not seen to end"):
        place.open(token=2).host.run(waiting_for(place, "go"))
    assert place.lines("begun") == ["begun"]
    (place.folder / "go").touch()


def test_a_journal_that_a_power_cut_emptied_is_unknown_too(here: Place) -> None:
    here.open().host.run("echo one >> told")
    here.kill_guard()
    for name in ("command.json", "exit"):
        (here.guarded / "journal/site-1/1-0" / name).write_bytes(b"")
    held = here.open(token=2)
    held.host.begin_step(1, once=True)
    with pytest.raises(ConnectionLost, match="unknown"):
        held.host.run("echo one >> told")


def test_journals_of_the_last_three_deployments_stay(here: Place) -> None:
    # The one requested first waited, and begins last.
    for began, number in enumerate((9, 10, 11, 8)):
        held = here.open(deployment=number, begin_number=began + 1)
        held.host.run("true")
        held.host.close()
    here.open(key="other", deployment=1)
    kept = sorted(path.name for path in (here.guarded / "journal").iterdir())
    assert kept == ["other-1", "site-10", "site-11", "site-8"]


def test_one_that_waited_begins_after_those_requested_later(place: Place) -> None:
    place.open(deployment=2, begin_number=1).host.close()
    wait_until(place.is_free)
    held = place.open(deployment=1, begin_number=2)
    assert held.host.run("echo ours").stdout == "ours\n"


def test_nobody_else_may_read_what_a_guard_keeps(place: Place) -> None:
    place.open().host.run("echo secret")
    kept = [path for path in place.guarded.rglob("*") if path.suffix != ".pyz"]
    assert not [path for path in kept if path.is_file() and path.stat().st_mode & 0o077]
    assert (place.guarded / "journal/site-1").stat().st_mode & 0o077 == 0
    assert (place.guarded / "socket").stat().st_mode & 0o077 == 0
