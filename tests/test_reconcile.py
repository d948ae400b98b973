"""`reconcile` makes up for lost messages and dead workers, by the rows alone."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from deploy_manager.deployments.request import request
from deploy_manager.models import Deployment, Environment, Shard, ShardState, State
from deploy_manager.reconcile import reconcile
from tests.inventory import Inventory, claim

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def reconciled() -> list[int]:
    """Reconcile; return the shards that workers were woken for."""
    woken: list[int] = []
    reconcile(woken.append, look=lambda pk: None)
    return woken


def state_of(deployment: Deployment) -> str:
    return Deployment.objects.values_list("state", flat=True).get(pk=deployment.pk)


def ask(environment: Environment, **requests: Any) -> Deployment:
    return request(environment, "ping", source="manage.py", requested_by_name="me@here", **requests)


def long_ago(**ago: int) -> None:
    """Let every heartbeat and every message be so old."""
    then = timezone.now() - timedelta(**ago)
    Shard.objects.exclude(beat_at=None).update(beat_at=then)
    Shard.objects.update(woken_at=then)


def test_a_lost_message_is_sent_again_but_not_all_the_time(inventory: Inventory) -> None:
    shard = inventory.request("ping").shards.get()
    assert reconciled() == [shard.pk]
    assert reconciled() == []
    long_ago(seconds=16)
    assert reconciled() == [shard.pk]


def test_all_messages_that_a_broker_lost_are_woken_again(inventory: Inventory) -> None:
    project = inventory.environment.project
    for number in range(200):
        environment = Environment.objects.create(
            project=project, name=f"site-{number}", deploy_path=f"/srv/{number}"
        )
        environment.placements.create(server=inventory.environment.servers.get())
        ask(environment)
    long_ago(seconds=60)
    assert len(set(reconciled())) == 200


def test_who_holds_and_beats_is_left_alone(inventory: Inventory) -> None:
    held = claim(inventory.request("ping"))
    assert reconciled() == []
    assert Shard.objects.get(pk=held.pk).state == ShardState.HELD


def test_a_silent_holder_is_woken_for(inventory: Inventory) -> None:
    held = claim(inventory.request("ping"))
    long_ago(seconds=16)
    assert reconciled() == [held.pk]
    assert state_of(held.deployment) == State.RUNNING


def test_what_nobody_took_up_ends_as_lost(inventory: Inventory) -> None:
    held = claim(inventory.request("ping"))
    long_ago(seconds=40)
    assert reconciled() == []
    assert state_of(held.deployment) == State.LOST
    assert inventory.request("ping").state == State.QUEUED


def test_what_waits_for_a_busy_worker_is_not_given_up(inventory: Inventory) -> None:
    held = claim(inventory.request("ping"))
    long_ago(seconds=40)
    claim(ask(make_other(inventory)))
    reconciled()
    assert state_of(held.deployment) == State.RUNNING
    Shard.objects.filter(pk=held.pk).update(beat_at=timezone.now() - timedelta(minutes=6))
    reconciled()
    assert state_of(held.deployment) == State.LOST


def test_what_ends_every_worker_is_given_up(inventory: Inventory) -> None:
    held = claim(inventory.request("ping"))
    Shard.objects.filter(pk=held.pk).update(taken_over=3)
    long_ago(seconds=12)
    reconciled()
    assert state_of(held.deployment) == State.LOST


def test_what_waits_begins_in_the_order_in_which_it_was_asked_for(inventory: Inventory) -> None:
    held = claim(inventory.request("ping"))
    first, second = (ask(inventory.environment, waits=True) for _ in range(2))
    assert reconciled() == []
    held.finish(State.SUCCEEDED)
    assert (state_of(first), state_of(second)) == (State.QUEUED, State.WAITING)
    claim(first).finish(State.SUCCEEDED)
    assert state_of(second) == State.QUEUED


def test_what_waits_for_its_time_begins_then(inventory: Inventory) -> None:
    soon = timezone.now() + timedelta(hours=1)
    deployment = ask(inventory.environment, not_before=soon)
    assert (deployment.state, deployment.message) == (State.WAITING, "Waits for its time.")
    assert reconciled() == []
    Deployment.objects.update(not_before=timezone.now())
    assert reconciled() == [deployment.shards.get().pk]
    assert state_of(deployment) == State.QUEUED


def test_what_goes_on_waiting_says_what_it_waits_for_by_now(inventory: Inventory) -> None:
    environment = inventory.environment
    environment.freeze("Sales", "ana")
    soon = timezone.now() + timedelta(hours=1)
    waiting = request(
        environment, "collect_static", source="fab", requested_by_name="me", not_before=soon
    )
    told: list[tuple[str, int]] = []

    def reconcile_twice() -> str:
        for _round in range(2):
            assert reconciled() == []
            waiting.refresh_from_db()
            told.append((str(waiting.message), waiting.sequence))
        assert told[-2] == told[-1]  # written when it changed, not in every round
        assert waiting.state == State.WAITING
        return str(waiting.message)

    assert reconcile_twice() == "Waits for its time."
    Deployment.objects.update(not_before=timezone.now())
    assert "is frozen by ana until it is thawed: Sales" in reconcile_twice()
    environment.freeze("Audit", "bob")
    assert "is frozen by bob until it is thawed: Audit" in reconcile_twice()
    environment.thaw("bob")
    held = claim(inventory.request("ping"))
    assert f"is busy: ping #{held.deployment_id} by me@here is running" in reconcile_twice()
    held.finish(State.SUCCEEDED)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.message) == (State.QUEUED, "")


def test_what_is_past_its_deadline_never_begins(inventory: Inventory) -> None:
    deployment = ask(inventory.environment, deadline=timezone.now() - timedelta(seconds=1))
    assert reconciled() == []
    assert state_of(deployment) == State.CANCELLED


def test_one_environment_that_cannot_be_read_keeps_no_other_waiting(
    inventory: Inventory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = ask(inventory.environment, not_before=timezone.now() + timedelta(hours=1))
    other = make_other(inventory)
    fine = ask(other, not_before=timezone.now() + timedelta(hours=1))
    Deployment.objects.filter(pk=broken.pk).update(recipe="gone")
    Deployment.objects.update(not_before=timezone.now())
    reconciled()
    assert (state_of(broken), state_of(fine)) == (State.WAITING, State.QUEUED)


def make_other(inventory: Inventory) -> Environment:
    environment = Environment.objects.create(
        project=inventory.environment.project, name="other", deploy_path="/srv/other"
    )
    environment.placements.create(server=inventory.environment.servers.get())
    return environment
