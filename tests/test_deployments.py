"""A deployment's state changes only for who wins; whoever comes second is told so."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TypeVar

import pytest
from django.db import connection, transaction
from django.utils import timezone

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, HostRun, State, Step
from deploy_manager.models.deployments import HOLDER_SILENT_AFTER
from tests.inventory import Inventory

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


def claim(deployment: Deployment) -> Deployment:
    claimed = Deployment.objects.claim(deployment.pk, "here:1")
    assert claimed is not None
    return claimed


@pytest.fixture
def queued(inventory: Inventory) -> Deployment:
    return inventory.request("ping")


@pytest.fixture
def claimed(queued: Deployment) -> Deployment:
    return claim(queued)


def state_of(deployment: Deployment) -> State:
    return State(Deployment.objects.values_list("state", flat=True).get(pk=deployment.pk))


def hosts_and_steps(deployment: Deployment) -> set[tuple[str, str]]:
    """The states and messages of all rows below."""
    hosts = HostRun.objects.filter(deployment=deployment)
    steps = Step.objects.filter(host_run__deployment=deployment)
    return {pair for rows in (hosts, steps) for pair in rows.values_list("state", "message")}


def test_a_second_request_is_refused_while_one_waits_or_runs(
    inventory: Inventory, queued: Deployment
) -> None:
    with pytest.raises(RequestRefused, match=r"busy: ping #\d+ by me@here is queued since"):
        inventory.request("ping")
    claimed = claim(queued)
    with pytest.raises(RequestRefused, match="is running since"):
        inventory.request("ping")
    claimed.finish(State.SUCCEEDED)
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
    won = [it for it in at_once(lambda _: Deployment.objects.claim(queued.pk, "here")) if it]
    assert [(it.state, it.token, it.holder) for it in won] == [(State.RUNNING, 1, "here")]
    assert won[0].started_at == won[0].beat_at is not None


def test_nothing_that_ended_is_claimed(claimed: Deployment) -> None:
    claimed.finish(State.FAILED)
    assert Deployment.objects.claim(claimed.pk, "here:2") is None


def test_who_holds_no_token_writes_nothing(claimed: Deployment) -> None:
    Deployment.objects.filter(pk=claimed.pk).update(token=claimed.token + 1)
    before = Deployment.objects.values().get(pk=claimed.pk)
    assert claimed.advance(5) is None
    assert not claimed.set_prepared("c" * 40, None)
    assert not claimed.finish(State.SUCCEEDED)
    assert Deployment.objects.values().get(pk=claimed.pk) == before
    assert hosts_and_steps(claimed) == {(State.QUEUED, "")}


def test_positions_are_given_to_one_only(claimed: Deployment) -> None:
    before = Deployment.objects.get(pk=claimed.pk).position

    def take(_: int) -> int | None:
        with transaction.atomic():
            return Deployment.objects.get(pk=claimed.pk).advance(3)

    given = at_once(take)
    assert sorted(filter(None, given)) == [before + 3 * number for number in range(AT_ONCE)]


def test_to_advance_is_to_beat(claimed: Deployment) -> None:
    assert claimed.beat_at is not None
    claimed.advance(0)
    assert Deployment.objects.get(pk=claimed.pk).beat_at > claimed.beat_at  # type: ignore[operator]


def test_a_deployment_ends_once(claimed: Deployment) -> None:
    assert sorted(at_once(lambda _: claimed.finish(State.SUCCEEDED))) == [False] * 3 + [True]


def test_the_end_skips_what_never_began_and_calls_the_rest_lost(
    inventory: Inventory, claimed: Deployment
) -> None:
    assert claimed.finish(State.FAILED, "No server was touched.")
    assert hosts_and_steps(claimed) == {(State.SKIPPED, "No server was touched.")}

    second = claim(inventory.request("ping"))
    now = timezone.now()
    second.host_runs.update(state=State.RUNNING, started_at=now)
    Step.objects.filter(host_run__deployment=second).update(state=State.RUNNING, started_at=now)
    assert second.finish(State.LOST, "It broke.")
    assert hosts_and_steps(second) == {(State.LOST, "It broke.")}


def test_what_ended_by_itself_keeps_its_end(claimed: Deployment) -> None:
    done = {"state": State.SUCCEEDED, "finished_at": timezone.now(), "message": ""}
    claimed.host_runs.update(**done)
    Step.objects.filter(host_run__deployment=claimed).update(**done)
    claimed.finish(State.LOST, "It broke.")
    assert hosts_and_steps(claimed) == {(State.SUCCEEDED, "")}


def test_readers_are_told_of_what_the_end_changed(claimed: Deployment) -> None:
    before = claimed.position
    claimed.finish(State.FAILED)
    end = Deployment.objects.get(pk=claimed.pk).position
    assert end > before
    assert {run.position for run in claimed.host_runs.all()} == {end}
    assert set(Step.objects.values_list("position", flat=True)) == {end}


def test_what_is_queued_is_cancelled_at_once(queued: Deployment) -> None:
    assert queued.request_cancel("the boss")
    assert state_of(queued) == State.CANCELLED
    assert hosts_and_steps(queued) == {(State.CANCELLED, "Cancelled by the boss.")}
    assert Deployment.objects.claim(queued.pk, "here:1") is None


def test_what_runs_is_asked_to_stop_and_goes_on_until_it_does(claimed: Deployment) -> None:
    assert claimed.request_cancel("the boss")
    assert state_of(claimed) == State.RUNNING
    assert claimed.cancel_requested_as == "the boss"
    assert claimed.cancel_requested_at is not None
    assert hosts_and_steps(claimed) == {(State.QUEUED, "")}


def test_what_a_silent_worker_holds_ends_as_lost(claimed: Deployment) -> None:
    silent = timezone.now() - HOLDER_SILENT_AFTER - timedelta(seconds=1)
    Deployment.objects.filter(pk=claimed.pk).update(beat_at=silent)
    assert claimed.request_cancel("the boss")
    assert state_of(claimed) == State.LOST
    assert "fell silent" in claimed.message
    assert not claimed.finish(State.SUCCEEDED)


def test_what_ended_is_not_cancelled(claimed: Deployment) -> None:
    claimed.finish(State.SUCCEEDED)
    assert not claimed.request_cancel("the boss")
    assert (state_of(claimed), claimed.cancel_requested_as) == (State.SUCCEEDED, "")


def test_a_claim_and_a_cancel_at_the_same_moment_agree(queued: Deployment) -> None:
    def take_or_cancel(number: int) -> bool:
        if number % 2:
            return Deployment.objects.claim(queued.pk, "here") is not None
        return Deployment.objects.get(pk=queued.pk).request_cancel("the boss")

    at_once(take_or_cancel)
    queued.refresh_from_db()
    assert queued.cancel_requested_as == "the boss"
    if queued.state == State.RUNNING:
        assert hosts_and_steps(queued) == {(State.QUEUED, "")}
    else:
        assert (queued.state, queued.token) == (State.CANCELLED, 0)
