"""What is queued begins only if it may begin then: not in a freeze, nor after its allowed time."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from deploy_manager.deployments.freezes import why_not_begin
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.messages import Message
from deploy_manager.models import (
    Deployment,
    Environment,
    HostRun,
    Schedule,
    Shard,
    State,
    UpgradeState,
)
from tests.inventory import Inventory, claim
from tests.loop import Pair
from tests.releases import Switching

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def freeze(environment: Environment) -> None:
    environment.freeze("Sales", "ana")


def thaw(environment: Environment) -> None:
    environment.thaw("ana")


def close_window(environment: Environment) -> None:
    in_three_days = DAYS[(timezone.now().weekday() + 3) % 7]
    Environment.objects.filter(pk=environment.pk).update(windows=[f"{in_three_days} 01:00-02:00"])


def open_window(environment: Environment) -> None:
    Environment.objects.filter(pk=environment.pk).update(windows=[])


CLOSED: dict[str, tuple[Callable[[Environment], None], Callable[[Environment], None], str]] = {
    "frozen": (freeze, thaw, "shop/production is frozen by ana until it is thawed: Sales"),
    "closed": (close_window, open_window, "may be changed at its allowed times only: next"),
}
closed = pytest.mark.parametrize(("close", "reopen", "why"), CLOSED.values(), ids=CLOSED)


def see(deployment: Deployment) -> Deployment:
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


@closed
def test_what_did_not_ask_to_wait_ends_with_the_words_of_a_refusal(
    switching: Switching,
    close: Callable[[Environment], None],
    reopen: Callable[[Environment], None],
    why: str,
) -> None:
    deployment = switching.request("new")
    close(switching.inventory.environment)
    assert see(deployment).state == State.CANCELLED
    assert why in deployment.message
    assert "No server was touched." in deployment.message
    assert deployment.message.code == "request_refused"
    assert (deployment.started_at, deployment.begin_number) == (None, 0)
    assert deployment.host_runs.get().state == State.CANCELLED
    assert switching.current("one") == ""
    reopen(switching.inventory.environment)
    assert see(deployment).state == State.CANCELLED
    assert switching.switch_to("newer").state == State.SUCCEEDED


@closed
def test_what_asked_to_wait_waits_and_begins_when_it_may(
    pair: Pair,
    close: Callable[[Environment], None],
    reopen: Callable[[Environment], None],
    why: str,
) -> None:
    deployment = pair.ask(pair.good, "collect_static", waits=True)
    assert deployment.state == State.QUEUED
    close(pair.good)
    assert see(deployment).state == State.WAITING
    assert why.replace("production", "good") in deployment.message
    assert deployment.started_at is None
    pair.reconcile()
    deployment.refresh_from_db()
    assert deployment.state == State.WAITING
    reopen(pair.good)
    # At once, though a worker was woken for it only a moment ago.
    assert deployment.shards.get().pk in pair.reconcile()
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message) == (State.QUEUED, "")
    assert claim(deployment).deployment.state == State.RUNNING


def test_one_that_waited_for_its_time_goes_back_to_waiting(pair: Pair) -> None:
    deployment = pair.waiting(pair.good)
    pair.reconcile()
    deployment.refresh_from_db()
    assert deployment.state == State.QUEUED
    freeze(pair.good)
    assert see(deployment).state == State.WAITING


def test_a_run_of_a_schedule_goes_back_to_waiting_and_ends_at_its_deadline(pair: Pair) -> None:
    schedule: Schedule = pair.schedule(pair.good, "collect_static")
    pair.reconcile()
    deployment = schedule.deployments.get()
    assert deployment.state == State.QUEUED
    freeze(pair.good)
    assert see(deployment).state == State.WAITING
    Deployment.objects.filter(pk=deployment.pk).update(
        deadline=timezone.now() - timedelta(seconds=1)
    )
    pair.reconcile()
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message.code) == (State.CANCELLED, "deadline_passed")


def test_a_stage_of_an_upgrade_waits_again_and_says_why(pair: Pair) -> None:
    upgrade = pair.upgrade(pair.good)
    pair.reconcile()
    deployment = upgrade.stages.get().deployment
    assert deployment is not None
    assert (upgrade.stages.get().state, deployment.state) == (UpgradeState.RUNNING, State.QUEUED)
    freeze(pair.good)
    assert see(deployment).state == State.WAITING
    pair.reconcile()
    stage = upgrade.stages.get()
    upgrade.refresh_from_db()
    assert (stage.state, upgrade.state) == (UpgradeState.WAITING, UpgradeState.WAITING)
    assert stage.message == "shop/good is frozen by ana until it is thawed: Sales"
    assert "shop/good is frozen by ana" in upgrade.message
    thaw(pair.good)
    pair.reconcile()
    stage.refresh_from_db()
    upgrade.refresh_from_db()
    assert (stage.state, stage.message) == (UpgradeState.RUNNING, "")
    assert upgrade.state == UpgradeState.RUNNING


def test_a_rollback_of_an_upgrade_waits_for_the_end_of_a_freeze_as_ever(pair: Pair) -> None:
    upgrade = pair.upgrade(pair.good)
    pair.bring(upgrade.stages.get())
    upgrade.stages.update(state=UpgradeState.RETURNING)
    pair.reconcile()
    back = upgrade.stages.get().returned_by
    assert back is not None
    assert back.state == State.QUEUED
    freeze(pair.good)
    assert see(back).state == State.WAITING
    pair.reconcile()
    assert upgrade.stages.get().state == UpgradeState.RETURNING


def test_a_rollback_waits_for_no_allowed_time(pair: Pair) -> None:
    release = pair.release(pair.good)
    deployment = pair.ask(pair.good, "rollback", release=release)
    close_window(pair.good)
    assert not why_not_begin(Deployment.objects.get(pk=deployment.pk))
    freeze(pair.good)
    assert why_not_begin(Deployment.objects.get(pk=deployment.pk))


def test_what_releases_nothing_begins_in_a_freeze(inventory: Inventory) -> None:
    deployment = inventory.request("ping")
    freeze(inventory.environment)
    assert see(deployment).state == State.SUCCEEDED


def test_what_has_begun_goes_on_in_a_freeze(switching: Switching) -> None:
    deployment = switching.request("new")
    held = Shard.objects.claim(deployment.shards.get().pk, "here:1", why_not_begin)
    assert held is not None
    held.release()
    freeze(switching.inventory.environment)
    assert see(deployment).state == State.SUCCEEDED


def test_allowed_times_that_can_t_be_read_are_told_as_ever(switching: Switching) -> None:
    deployment = switching.request("new")
    Environment.objects.update(windows=["whenever"])
    assert see(deployment).state == State.FAILED
    assert "windows" in deployment.message


def test_a_freeze_and_a_worker_at_the_same_moment_have_one_winner(switching: Switching) -> None:
    """The one that comes second sees what the first one did."""
    deployment = switching.request("new")
    environment = switching.inventory.environment

    def freeze_it() -> None:
        try:
            freeze(environment)
        finally:
            connection.close()

    freezing = threading.Thread(target=freeze_it)

    def look(asked: Deployment) -> Message:
        why = why_not_begin(asked)
        freezing.start()
        freezing.join(0.5)
        assert freezing.is_alive(), "a freeze was written between the look and the beginning"
        return why

    assert Shard.objects.claim(deployment.shards.get().pk, "here:1", look)
    freezing.join(20)
    deployment.refresh_from_db()
    frozen = environment.active_freeze
    assert frozen is not None
    assert deployment.state == State.RUNNING


def test_of_two_workers_one_puts_it_back_and_neither_begins_it(switching: Switching) -> None:
    deployment = request(
        switching.inventory.environment,
        "switch",
        source="manage.py",
        requested_by_name="me@here",
        options=DeploymentOptions(release=switching.make_release("new"), waits=True),
    )
    freeze(switching.inventory.environment)
    stale = Deployment.objects.get(pk=deployment.pk)
    assert stale.put_back(Message("frozen"))
    assert not stale.put_back(Message("frozen"))
    assert not Deployment.objects.begin(deployment.pk)
    assert HostRun.objects.get(deployment=deployment).state == State.QUEUED
    # It may have begun meanwhile: then it is left alone.
    Deployment.objects.filter(pk=deployment.pk).update(state=State.QUEUED)
    assert claim(deployment)
    assert not stale.put_back(Message("frozen"))
    deployment.refresh_from_db()
    assert deployment.state == State.RUNNING
