"""A deployment's state changes only for the one that wins; the others learn that they lost."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TypeVar

import pytest
from django.db import connection, transaction
from django.utils import timezone

from deploy_manager.deployments import request as requests
from deploy_manager.deployments.request import request
from deploy_manager.deployments.rollout import arrive
from deploy_manager.exceptions import ClaimLost, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, HostRun, Release, Shard, ShardState, State, Step
from deploy_manager.models.deployments import HOLDER_SILENT_AFTER
from deploy_manager.models.shards import LEASE, TAKEN_OVER_AT_MOST
from deploy_manager.signals import deployment_ended
from tests.inventory import Inventory, claim

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

T = TypeVar("T")
AT_ONCE = 4


def at_once(do: Callable[[int], T]) -> Sequence[T]:
    """Do it in several threads at the same moment, each with a number and a connection."""
    start = Barrier(AT_ONCE)

    def one(number: int) -> T:
        start.wait(10)
        try:
            return do(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


@pytest.fixture
def queued(inventory: Inventory) -> Deployment:
    return inventory.request("ping")


@pytest.fixture
def held(queued: Deployment) -> Shard:
    return claim(queued)


@pytest.fixture
def claimed(held: Shard) -> Deployment:
    return held.deployment


def state_of(deployment: Deployment) -> State:
    return State(Deployment.objects.values_list("state", flat=True).get(pk=deployment.pk))


def hosts_and_steps(deployment: Deployment) -> set[tuple[str, str]]:
    """The states and messages of all rows below."""
    hosts = HostRun.objects.filter(deployment=deployment)
    steps = Step.objects.filter(host_run__deployment=deployment)
    return {pair for rows in (hosts, steps) for pair in rows.values_list("state", "message")}


def test_one_that_may_wait_does_so_if_another_is_queued_in_the_same_moment(
    inventory: Inventory, queued: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has queued it between the look whether it has to wait, and the insert."""
    monkeypatch.setattr(requests, "_why_to_wait", lambda *_arguments: Message())
    made = request(
        inventory.environment, "ping", source="manage.py", requested_by_name="ana", waits=True
    )
    assert made.state == State.WAITING
    assert "busy" in made.message


def test_a_second_request_is_refused_while_one_waits_or_runs(
    inventory: Inventory, queued: Deployment
) -> None:
    with pytest.raises(RequestRefused, match=r"busy: ping #\d+ by me@here is queued since"):
        inventory.request("ping")
    held = claim(queued)
    with pytest.raises(RequestRefused, match="is running since"):
        inventory.request("ping")
    held.finish(State.SUCCEEDED)
    assert inventory.request("ping").state == State.QUEUED


def test_of_requests_at_the_same_moment_one_wins(inventory: Inventory) -> None:
    def ask(_: int) -> bool:
        try:
            inventory.request("ping")
        except RequestRefused:
            return False
        return True

    assert sorted(at_once(ask)) == [False] * (AT_ONCE - 1) + [True]
    assert (Deployment.objects.count(), HostRun.objects.count(), Step.objects.count()) == (1, 1, 1)


def test_of_claims_at_the_same_moment_one_wins(queued: Deployment) -> None:
    pk = queued.shards.get().pk
    won = [it for it in at_once(lambda _: Shard.objects.claim(pk, "here")) if it]
    assert [(it.state, it.token, it.holder) for it in won] == [(ShardState.HELD, 1, "here")]
    assert won[0].beat_at is not None
    assert (won[0].deployment.state, won[0].deployment.started_at is None) == (
        State.RUNNING,
        False,
    )


def test_nothing_that_ended_is_claimed(held: Shard) -> None:
    held.finish(State.FAILED)
    assert Shard.objects.claim(held.pk, "here:2") is None


def test_what_is_past_its_deadline_is_not_claimed(queued: Deployment) -> None:
    Deployment.objects.update(deadline=timezone.now() - timedelta(seconds=1))
    assert Shard.objects.claim(queued.shards.get().pk, "here") is None
    assert queued.pass_by()
    assert hosts_and_steps(queued) == {
        (State.CANCELLED, "Its deadline passed before it could begin.")
    }


def test_a_silent_holder_is_replaced_and_writes_nothing_more(held: Shard) -> None:
    assert Shard.objects.claim(held.pk, "there:2") is None
    fall_silent(held)
    successor = Shard.objects.claim(held.pk, "there:2")
    assert successor is not None
    assert (successor.token, successor.taken_over) == (2, 1)
    assert_writes_nothing(held)


def test_a_holder_that_falls_silent_again_and_again_is_not_replaced_for_ever(held: Shard) -> None:
    for _ in range(TAKEN_OVER_AT_MOST):
        fall_silent(held)
        assert Shard.objects.claim(held.pk, "there:2") is not None
    fall_silent(held)
    assert Shard.objects.claim(held.pk, "there:2") is None


def test_who_holds_no_token_writes_nothing(held: Shard) -> None:
    Shard.objects.filter(pk=held.pk).update(token=held.token + 1)
    assert_writes_nothing(held)


def test_what_is_given_back_is_anybody_s_to_claim(held: Shard) -> None:
    assert held.release()
    assert_writes_nothing(held)
    successor = Shard.objects.claim(held.pk, "there:2")
    assert successor is not None
    assert (successor.token, successor.taken_over) == (2, 0)


def test_sequences_are_given_to_one_only(held: Shard) -> None:
    before = Deployment.objects.get(pk=held.deployment_id).sequence

    def take(_: int) -> int | None:
        with transaction.atomic():
            return Shard.objects.get(pk=held.pk).advance(3)

    given = at_once(take)
    assert sorted(filter(None, given)) == [before + 3 * number for number in range(AT_ONCE)]


def test_to_advance_is_to_beat(held: Shard) -> None:
    fall_silent(held)
    before = Shard.objects.get(pk=held.pk).beat_at
    held.advance(0)
    assert Shard.objects.get(pk=held.pk).beat_at > before  # type: ignore[operator]


def test_a_deployment_ends_once(held: Shard) -> None:
    assert sorted(at_once(lambda _: held.finish(State.SUCCEEDED))) == [False] * 3 + [True]
    assert Shard.objects.get(pk=held.pk).state == ShardState.ENDED


def test_the_end_skips_what_never_began_and_calls_the_rest_lost(
    inventory: Inventory, held: Shard
) -> None:
    assert held.finish(State.FAILED, "No server was touched.")
    assert hosts_and_steps(held.deployment) == {(State.SKIPPED, "No server was touched.")}

    second = claim(inventory.request("ping"))
    now = timezone.now()
    second.host_runs.update(state=State.RUNNING, started_at=now)
    steps = Step.objects.filter(host_run__deployment=second.deployment)
    steps.update(state=State.RUNNING, started_at=now)
    assert second.finish(State.LOST, "It broke.")
    assert hosts_and_steps(second.deployment) == {(State.LOST, "It broke.")}


def test_what_ended_by_itself_keeps_its_end(held: Shard) -> None:
    done = {"state": State.SUCCEEDED, "finished_at": timezone.now(), "message": ""}
    held.host_runs.update(**done)
    Step.objects.filter(host_run__deployment=held.deployment).update(**done)
    held.finish(State.LOST, "It broke.")
    assert hosts_and_steps(held.deployment) == {(State.SUCCEEDED, "")}


def test_readers_are_reported_of_what_the_end_changed(held: Shard) -> None:
    before = held.deployment.sequence
    held.finish(State.FAILED)
    end = Deployment.objects.get(pk=held.deployment_id).sequence
    assert end > before
    assert set(held.host_runs.values_list("sequence", flat=True)) == {end}
    assert set(Step.objects.values_list("sequence", flat=True)) == {end}


def test_whoever_listens_is_reported_of_the_end_after_the_commit(held: Shard) -> None:
    told: list[str] = []

    def listen(deployment: Deployment, **details: object) -> None:
        told.append(deployment.state)

    deployment_ended.connect(listen)
    try:
        with transaction.atomic():
            held.finish(State.SUCCEEDED)
            assert told == []
        assert told == [State.SUCCEEDED]
    finally:
        deployment_ended.disconnect(listen)


def test_what_is_queued_is_cancelled_at_once(queued: Deployment) -> None:
    assert queued.request_cancel("the boss")
    assert state_of(queued) == State.CANCELLED
    assert hosts_and_steps(queued) == {(State.CANCELLED, "Cancelled by the boss.")}
    assert Shard.objects.claim(queued.shards.get().pk, "here:1") is None


def test_what_runs_is_asked_to_stop_and_goes_on_until_it_does(claimed: Deployment) -> None:
    assert claimed.request_cancel("the boss")
    assert state_of(claimed) == State.RUNNING
    assert claimed.cancel_requested_by_name == "the boss"
    assert claimed.cancel_requested_at is not None
    assert hosts_and_steps(claimed) == {(State.QUEUED, "")}


def test_what_a_silent_worker_holds_ends_as_lost(held: Shard) -> None:
    fall_silent(held, HOLDER_SILENT_AFTER + timedelta(seconds=1))
    deployment = held.deployment
    assert deployment.request_cancel("the boss")
    assert state_of(deployment) == State.LOST
    assert "fell silent" in deployment.message
    assert not held.finish(State.SUCCEEDED)


def test_what_ended_is_not_cancelled(held: Shard) -> None:
    held.finish(State.SUCCEEDED)
    assert not held.deployment.request_cancel("the boss")
    assert state_of(held.deployment) == State.SUCCEEDED
    assert held.deployment.cancel_requested_by_name == ""


def test_a_claim_and_a_cancel_at_the_same_moment_agree(queued: Deployment) -> None:
    pk = queued.shards.get().pk

    def take_or_cancel(number: int) -> bool:
        if number % 2:
            return Shard.objects.claim(pk, "here") is not None
        return Deployment.objects.get(pk=queued.pk).request_cancel("the boss")

    at_once(take_or_cancel)
    queued.refresh_from_db()
    assert queued.cancel_requested_by_name == "the boss"
    if queued.state == State.RUNNING:
        assert hosts_and_steps(queued) == {(State.QUEUED, "")}
    else:
        assert (queued.state, queued.shards.get().token) == (State.CANCELLED, 0)


def test_what_waits_is_queued_when_nothing_else_holds_its_environment(
    inventory: Inventory, held: Shard
) -> None:
    waiting = request(
        inventory.environment, "ping", source="fab", requested_by_name="me@here", waits=True
    )
    assert waiting.state == State.WAITING
    assert "is busy" in waiting.message
    assert Shard.objects.claim(waiting.shards.get().pk, "here") is None
    assert not Deployment.objects.promote(waiting.pk)
    held.finish(State.SUCCEEDED)
    assert state_of(waiting) == State.QUEUED
    assert claim(waiting).deployment.state == State.RUNNING


def assert_writes_nothing(held: Shard) -> None:
    """Whatever this holder tries, no row changes."""
    before = rows()
    for write in (lambda: held.advance(5), lambda: held.set_prepared("c" * 40, Release())):
        with pytest.raises(ClaimLost):
            write()
    with pytest.raises(ClaimLost):
        arrive(held, held.deployment.stage)
    assert not held.finish(State.SUCCEEDED)
    assert not held.release()
    assert rows() == before


def rows() -> list[object]:
    return [list(kind._default_manager.values()) for kind in (Deployment, Shard, HostRun, Step)]


def fall_silent(held: Shard, for_: timedelta = LEASE + timedelta(seconds=1)) -> None:
    Shard.objects.filter(pk=held.pk).update(beat_at=timezone.now() - for_)
