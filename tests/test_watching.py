"""Between deployments servers are asked what runs; what changed is shown, told, and started."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from deploy_manager import dispatch
from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError, HostUnreachable, RecipeError
from deploy_manager.models import (
    Notification,
    Placement,
    Process,
    Release,
    SeenProcess,
    Watch,
)
from deploy_manager.watching import judging, looking, rounds
from deploy_manager.watching.asking import Look, Place
from deploy_manager.watching.looking import look_at_all
from tests.inventory import Inventory
from tests.parts.served import wait_until
from tests.parts.worker import StartWorker
from tests.watching import DOWN, UP, WORKER, World, leave_a_deployment, serve

pytestmark = pytest.mark.django_db


@pytest.mark.database
def test_what_runs_is_kept_and_what_is_gone_is_deleted(world: World) -> None:
    world.look()
    assert world.states() == {"one web 1": "up", "one worker 1": "up"}
    assert world.watch.seen_at is not None
    world.say(UP)
    world.look()
    assert world.states() == {"one web 1": "up"}


def test_only_what_changed_is_written(
    world: World, django_assert_max_num_queries: Callable[..., object]
) -> None:
    world.say(*(replace(WORKER, instance=str(number)) for number in range(100)))
    world.look()
    since = {row.pk: row.since for row in SeenProcess.objects.all()}
    with django_assert_max_num_queries(25):  # type: ignore[attr-defined]
        world.look()
    assert {row.pk: row.since for row in SeenProcess.objects.all()} == since


def test_a_process_that_is_down_is_told_once_it_was_seen_so_twice(world: World) -> None:
    world.look()
    world.say(DOWN, WORKER)
    world.look()
    assert world.states()["one web 1"] == "down"
    assert world.told == []
    world.look(3)
    assert world.told == [
        ("shop/production: 1 process is down", "one: web 1: down. gunicorn does not run.")
    ]
    world.told.clear()
    world.say(replace(UP, restarts="30 0"), WORKER)
    world.look()
    assert world.told == []
    world.look(3)
    assert world.told == [("shop/production: 1 process is back", "one: web 1: is back.")]


def test_a_process_that_is_restarted_again_and_again_is_told_once(world: World) -> None:
    for number in range(6):
        # systemd waits between two starts, and is seen to now and then.
        found = replace(UP, restarts=f"{number} {number}")
        world.say(DOWN if number == 3 else found, WORKER)
        world.look()
    assert world.states()["one web 1"] == "restarting"
    ((title, text),) = world.told
    assert title == "shop/production: 1 process is restarted again and again"
    assert text == "one: web 1: restarting. It was restarted since the last look."


def test_one_restart_is_shown_and_not_told(world: World) -> None:
    world.look()
    world.say(replace(UP, restarts="11 1"), WORKER)
    world.look()
    assert world.states()["one web 1"] == "restarting"
    world.look(3)
    assert world.states()["one web 1"] == "up"
    assert world.told == []


def test_two_looks_in_the_same_moment_count_as_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "SETTLES", timedelta(seconds=10))
    world.say(DOWN, WORKER)
    world.look(5)
    assert world.told == []
    SeenProcess.objects.update(since=timezone.now() - timedelta(seconds=11))
    world.look()
    assert len(world.told) == 1


def test_a_deployment_restarts_what_runs(world: World) -> None:
    world.look()
    deployment = world.inventory.request("ping")
    deployment.host_runs.update(started_at=timezone.now(), finished_at=None)
    world.say(replace(UP, restarts="11 0"), WORKER)
    look_at_all(Placement.objects.all())
    assert world.states()["one web 1"] == "up"


def test_an_old_process_is_told(world: World) -> None:
    world.say(replace(UP, releases=("r0", "r1")), WORKER)
    world.look(2)
    assert world.states()["one web 1"] == "old"
    assert world.told == [
        (
            "shop/production: 1 process runs another release",
            "one: web 1: another release. r1 is deployed.",
        )
    ]
    world.say(DOWN, WORKER)
    world.look(2)
    assert world.told[1][0] == "shop/production: 1 process is down"


def test_what_is_not_known_is_not_down(world: World) -> None:
    world.look()
    world.say(replace(DOWN, is_known=False, problem="Failed to connect to bus."), WORKER)
    world.look(3)
    assert world.states()["one web 1"] == "unknown"
    assert world.told == []


def test_people_hear_of_what_they_asked_for(world: World) -> None:
    Notification.objects.update(states=["failed", "process_back"])
    world.say(DOWN, WORKER)
    world.look(2)
    world.say(UP, WORKER)
    world.look(3)
    assert [title for title, _text in world.told] == ["shop/production: 1 process is back"]


def test_one_notification_has_what_happened_on_all_servers(world: World) -> None:
    for number in range(22):
        world.add(f"web{number:02}")
        world.say(DOWN, on=f"web{number:02}")
    world.look(2)
    ((title, text),) = world.told
    assert title == "shop/production: 22 processes are down"
    assert text.splitlines()[0] == "web00: web 1: down. gunicorn does not run."
    assert text.splitlines()[20:] == ["and 2 more"]


@pytest.mark.database
def test_a_server_that_can_t_be_asked_stops_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")  # pytest can't hand on a log that has half a character
    answers: dict[str, Look | Exception] = {
        "two": HostUnreachable("two refuses connections."),
        "three": ValueError("\x00\ud800"),
        "four": Look((UP,)),
    }
    for name, answer in answers.items():
        world.add(name)
        world.answers[name] = answer
    broken = world.add("five")
    Placement.objects.filter(pk=broken.pk).update(own_deploy_path="not a path", roles="no list")
    Placement.objects.filter(pk=broken.pk).update(active_release=Release.objects.get())
    world.look()
    problems = {str(each.placement.server): str(each.problem) for each in Watch.objects.all()}
    assert problems["two"] == "two refuses connections."
    assert problems["three"]
    assert "can't be used as it is" in problems["five"]
    assert (problems["one"], problems["four"]) == ("", "")
    world.answers["two"] = Look((UP,))
    world.look()
    assert Watch.objects.get(placement__server__name="two").problem == ""


def test_what_was_seen_stays_while_a_server_is_away(world: World) -> None:
    world.look()
    seen = world.watch.seen_at
    world.answers["one"] = HostUnreachable("It is away.")
    world.look()
    assert world.states() == {"one web 1": "up", "one worker 1": "up"}
    assert world.watch.seen_at == seen


def test_a_reboot_is_noticed_and_when_everything_was_back(world: World) -> None:
    world.look()
    assert world.watch.rebooted_at is None
    booted = datetime(2026, 11, 29, 12, tzinfo=UTC)
    world.say(DOWN, replace(WORKER, restarts="99 0"), boot="second", booted_at=booted)
    world.look()
    assert world.watch.rebooted_at == booted
    assert world.watch.back_at is None
    assert world.states() == {"one web 1": "down", "one worker 1": "up"}
    world.say(replace(UP, restarts="98 0"), replace(WORKER, restarts="99 0"), boot="second")
    world.look(2)
    assert world.watch.rebooted_at == booted
    assert world.watch.back_at is not None


def test_what_was_seen_elsewhere_is_forgotten(world: World) -> None:
    world.look()
    placement = Placement.objects.get()
    placement.own_deploy_path = "/srv/elsewhere"
    placement.save()
    assert not Watch.objects.exists()
    assert not SeenProcess.objects.exists()


def test_an_answer_from_where_it_was_is_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved_meanwhile(place: Place) -> Look:
        return Look((UP,))

    monkeypatch.setattr(looking, "look_at", moved_meanwhile)
    note = looking._note

    def move_first(*words: object) -> object:
        placement = Placement.objects.get()
        placement.own_deploy_path = "/srv/elsewhere"
        placement.save()
        return note(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "_note", move_first)
    world.look()
    assert not SeenProcess.objects.exists()


@pytest.mark.database
def test_who_began_to_ask_first_writes_nothing_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = looking._note

    def note_late(*words: object) -> object:
        monkeypatch.setattr(looking, "_note", note)
        world.say(DOWN, WORKER)
        world.look()
        return note(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "_note", note_late)
    world.look()
    assert world.states()["one web 1"] == "down"


# What is due


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The placements of each message that was sent to look at processes."""
    kept: list[tuple[int, ...]] = []

    def send(task: str, *keys: int, **options: object) -> str:
        if task == "watch":
            kept.append(keys)
        return ""

    monkeypatch.setattr(dispatch, "send", send)
    return kept


@pytest.mark.database
def test_servers_are_asked_every_minute(world: World, sent: list[tuple[int, ...]]) -> None:
    assert dispatch.gather()[rounds.JOB] == 1
    assert rounds.JOB not in dispatch.gather()
    Watch.objects.update(tried_at=timezone.now() - timedelta(seconds=61))
    dispatch.gather()
    assert sent == [(Placement.objects.get().pk,)] * 2


def test_nothing_is_asked_where_nothing_of_ours_runs(
    world: World, sent: list[tuple[int, ...]]
) -> None:
    environment = world.inventory.environment
    world.inventory.add_server("empty")
    world.look()
    environment.reload_method = environment.ReloadMethod.SYSTEMD
    environment.reload_target = "shop"
    environment.save()
    dispatch.gather()
    assert sent == []
    assert not Watch.objects.exists()
    Process.objects.create(environment=environment, name="worker")
    dispatch.gather()
    assert len(sent) == 1


@pytest.mark.parametrize("every", [0, None])
def test_watching_can_be_switched_off(
    world: World, sent: list[tuple[int, ...]], settings: Settings, every: int | None
) -> None:
    world.look()
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "WATCH_EVERY": every}
    dispatch.gather()
    assert sent == []
    assert not Watch.objects.exists()


def test_a_pause_that_is_none_is_refused(settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "WATCH_EVERY": "1m"}
    with pytest.raises(ConfigurationError, match="WATCH_EVERY"):
        get_settings()


def test_a_server_is_left_alone_while_a_deployment_works_there(
    world: World, sent: list[tuple[int, ...]]
) -> None:
    deployment = world.inventory.request("ping")
    dispatch.gather()
    assert sent == []
    # A canary that is through is watched while the others wait.
    deployment.host_runs.update(state="succeeded", finished_at=timezone.now())
    dispatch.gather()
    assert len(sent) == 1


def test_what_no_worker_was_woken_for_stays_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "send", lambda *words, **options: "no broker")
    dispatch.gather()
    assert rounds.due_placements().exists()


@pytest.mark.workers
@pytest.mark.django_db(transaction=True)
def test_a_worker_looks(
    inventory: Inventory, embedded_broker: None, start_worker: StartWorker
) -> None:
    serve(inventory.environment, "r1")
    leave_a_deployment(inventory.folder / "one", "r1", mailer="sleep 600")
    start_worker()
    assert dispatch.gather()[rounds.JOB] == 1
    wait_until(SeenProcess.objects.filter(name="mailer", state="down").exists)


# Starts


@pytest.fixture
def down(world: World) -> World:
    """`one` has a process that is down; the environment wants it started again."""
    world.inventory.environment.restart_down = True
    world.inventory.environment.save()
    world.say(DOWN, WORKER)
    return world


def wait(world: World, minutes: int) -> None:
    watch = world.watch
    assert watch.started_at is not None
    Watch.objects.update(started_at=watch.started_at - timedelta(minutes=minutes))


def test_what_is_down_is_started_where_the_environment_says_so(down: World) -> None:
    down.look()
    assert down.started == []
    down.look()
    assert down.started == ["one"]
    assert rounds.due_placements().exists()  # to be seen soon
    down.say(replace(UP, restarts="77 0"), WORKER)
    down.look()
    assert down.states()["one web 1"] == "up"
    environment = down.inventory.environment
    environment.restart_down = False
    environment.save()
    down.say(DOWN, WORKER)
    down.look(3)
    assert down.started == ["one"]


def test_pauses_grow_and_after_the_last_one_a_person_has_to_look(down: World) -> None:
    down.look(4)
    assert len(down.started) == 1
    for minutes, count in ((1, 2), (1, 2), (2, 3), (10, 4), (30, 5), (1000, 5)):
        wait(down, minutes)
        down.look()
        assert len(down.started) == count
    assert "It was started 5 times and did not stay up" in str(down.watch.start_problem)
    deployment = down.inventory.request("ping")
    deployment.host_runs.update(
        state="succeeded", started_at=timezone.now(), finished_at=timezone.now()
    )
    look_at_all(Placement.objects.all())
    assert (down.watch.starts, down.watch.start_problem) == (0, "")


def test_what_stays_up_is_counted_anew(down: World) -> None:
    down.look(2)
    down.say(UP, WORKER)
    down.look(2)
    assert down.watch.starts == 1
    wait(down, 16)
    down.look()
    assert down.watch.starts == 0


def test_nothing_is_started_during_a_deployment(down: World) -> None:
    deployment = down.inventory.request("ping")
    deployment.host_runs.update(state="succeeded", finished_at=timezone.now())
    down.look(3)
    assert down.started == []


def test_a_server_that_is_in_use_costs_no_attempt(down: World) -> None:
    down.starts = lambda: False
    down.look(2)
    assert down.watch.starts == 0


def test_why_something_did_not_start_is_kept(down: World) -> None:
    def fail() -> bool:
        raise RecipeError("gunicorn is not installed for this release.")

    down.starts = fail
    down.look(2)
    assert down.watch.start_problem == "gunicorn is not installed for this release."
