"""`manage.py processes` asks servers what runs, and ends by 1 if something does not."""

import pytest

from deploy_manager.exceptions import HostUnreachable
from deploy_manager.watching.asking import Instance
from tests.commands import call, call_and_be_refused, call_and_fail, events
from tests.watching import DOWN, UP, WORKER, World

pytestmark = pytest.mark.django_db


def test_what_runs_is_listed(world: World) -> None:
    titles, web, worker = (line.split() for line in call("processes", "production").splitlines())
    assert titles == ["environment", "server", "process", "state", "since", "release"]
    assert web[:5] == ["shop/production", "one", "web", "1", "up"]
    assert worker[2:5] == ["worker", "1", "up"]


def test_what_is_down_ends_it_by_1(world: World) -> None:
    world.say(DOWN, WORKER)
    code, printed = call_and_fail("processes", "production")
    assert code == 1
    assert "gunicorn does not run." in printed


def test_a_server_that_cannot_be_asked_is_reported_and_ends_it_by_1(world: World) -> None:
    world.add("two")
    world.answers["two"] = HostUnreachable("two refuses connections.")
    code, printed = call_and_fail("processes")
    assert code == 1
    assert "shop/production, two: two refuses connections." in printed
    assert "worker 1" in printed
    assert "two" not in call("processes", "--server", "one")


def test_programs_get_it_all(world: World) -> None:
    world.say(UP, Instance("worker", "1", problem="It is down."))
    code, printed = call_and_fail("processes", "production", "--json")
    watch, web, worker, summary = events(printed)
    assert code == 1
    assert (watch["event"], watch["server"], watch["supervisor"]) == ("watch", "one", "systemd")
    assert (web["event"], web["process"], web["state"]) == ("process", "web", "up")
    assert (worker["state"], worker["message"]) == ("down", "It is down.")
    assert summary == {"event": "summary", "state": "down", "asked": 1}


def test_people_hear_of_what_a_command_saw_first(world: World) -> None:
    world.say(DOWN, WORKER)
    call_and_fail("processes")
    call_and_fail("processes")
    assert world.told == []
    world.look()
    assert len(world.told) == 1


def test_where_nothing_of_ours_runs_it_is_refused(world: World) -> None:
    environment = world.inventory.environment
    environment.reload_method = environment.ReloadMethod.PASSENGER
    environment.save()
    assert "No process of ours runs there" in call_and_be_refused("processes", "production")
    refusal = call_and_be_refused("processes", "--server", "web9")
    assert refusal == "No such server: web9. Servers: one."
