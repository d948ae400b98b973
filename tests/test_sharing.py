"""A deployment larger than a shard, shared by several workers; none waits for another."""

import queue
import threading

import pytest
from django.db import connection
from pytest_django import Settings

from deploy_manager.deployments.run import run_shard
from deploy_manager.models import Deployment, Environment, Shard, ShardState, State, Step
from tests.releases import Switching

pytestmark = [pytest.mark.database, pytest.mark.workers, pytest.mark.django_db(transaction=True)]

WORKERS = 3


@pytest.fixture
def seven(switching: Switching, settings: Settings) -> Switching:
    """Seven servers, two for each shard."""
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SHARD_HOSTS": 2}
    for name in ("two", "three", "four", "five", "six", "seven"):
        switching.inventory.add_server(name)
    return switching


def work_off(deployment: Deployment) -> list[int]:
    """Let workers take messages as they are sent; return their shards in the order of sending."""
    messages: queue.Queue[int | None] = queue.Queue()
    woken: list[int] = []

    def wake(pk: int) -> None:
        woken.append(pk)
        messages.put(pk)

    def work() -> None:
        while (pk := messages.get()) is not None:
            run_shard(pk, wake)
            if not Deployment.objects.busy().filter(pk=deployment.pk).exists():
                for _ in range(WORKERS):
                    messages.put(None)
        connection.close()

    wake(deployment.shards.get(state=ShardState.QUEUED).pk)
    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    deployment.refresh_from_db()
    return woken


def test_every_server_is_reached_once_and_none_switched_before_all_are_prepared(
    seven: Switching,
) -> None:
    deployment = seven.request("new")
    assert deployment.shards.count() == 4
    work_off(deployment)
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    for run in deployment.host_runs.all():
        assert seven.current(run.server_name) == "new"
        assert seven.told(run.server_name) == ["prepare", "prove", "tidy"]
    assert set(deployment.shards.values_list("state", flat=True)) == {ShardState.ENDED}
    steps = Step.objects.filter(host_run__deployment=deployment)
    prepared = steps.filter(phase="prepare").order_by("finished_at").last()
    switched = steps.filter(phase="activate").order_by("started_at").first()
    assert prepared is not None
    assert switched is not None
    assert prepared.finished_at <= switched.started_at  # type: ignore[operator]


def test_a_failure_in_one_shard_stops_the_others(seven: Switching) -> None:
    seven.break_server("six", "prepare")
    deployment = seven.request("new")
    work_off(deployment)
    assert deployment.state == State.FAILED
    assert {seven.current(run.server_name) for run in deployment.host_runs.all()} == {""}
    states = dict(deployment.host_runs.values_list("server_name", "state"))
    assert states.pop("six") == State.FAILED
    assert set(states.values()) == {State.SKIPPED}


def test_waves_reach_over_shards(seven: Switching) -> None:
    Environment.objects.update(strategy=Environment.Strategy.WAVES, canary="1", batch="3")
    seven.inventory.environment.refresh_from_db()
    deployment = seven.request("new")
    assert sorted(deployment.host_runs.values_list("wave", flat=True)) == [1, 2, 2, 2, 3, 3, 3]
    work_off(deployment)
    assert deployment.state == State.SUCCEEDED
    assert Shard.objects.filter(deployment=deployment, token__gt=1).exists()
