"""A worker process carries out a request: the row is the queue, the broker only wakes workers."""

import os
import socket
import time
from pathlib import Path

import pytest
from django.db import transaction

from deploy_manager import dispatch
from deploy_manager.models import Deployment, State
from tests.inventory import Inventory
from tests.parts.matrices import few
from tests.parts.processes import free_port
from tests.parts.served import wait_until
from tests.parts.worker import StartWorker, UseBroker

pytestmark = [pytest.mark.database, pytest.mark.workers, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def redis(embedded_broker: None, use_broker: UseBroker, redis_url: str) -> None:
    """A real Redis as broker."""
    use_broker(redis_url)


@pytest.fixture(params=few("redis", "embedded_broker"))
def broker(request: pytest.FixtureRequest) -> None:
    """A real Redis, or a folder as in the demo."""
    request.getfixturevalue(request.param)


def ask(inventory: Inventory) -> Deployment:
    return dispatch.request(
        inventory.environment, "ping", source="manage.py", requested_by_name="me@here"
    )


def wait_for_the_end(deployment: Deployment) -> None:
    def ended() -> bool:
        deployment.refresh_from_db()
        return not deployment.is_live

    wait_until(ended)


def log_of(deployment: Deployment) -> str:
    return b"".join(deployment.log_chunks.values_list("data", flat=True)).decode()


def test_what_is_asked_for_here_runs_there(
    inventory: Inventory, broker: None, start_worker: StartWorker
) -> None:
    start_worker()
    deployment = ask(inventory)
    wait_for_the_end(deployment)
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    holder = deployment.shards.get().holder
    assert holder
    assert not holder.endswith(f":{os.getpid()}")
    assert f"MiB free in {inventory.folder}/one" in log_of(deployment)


def test_a_message_that_wakes_five_times_runs_it_once(
    inventory: Inventory, broker: None, start_worker: StartWorker, tmp_path: Path
) -> None:
    deployment = ask(inventory)
    assert deployment.state == State.QUEUED  # and taken once a worker comes
    for _ in range(4):
        assert dispatch.wake(deployment.pk)
    start_worker()
    nothing_to_do = f"{deployment.shards.get().pk} is not free to claim: nothing to do"
    wait_until(lambda: (tmp_path / "worker.log").read_text().count(nothing_to_do) == 4)
    wait_for_the_end(deployment)
    assert (deployment.state, deployment.shards.get().token) == (State.SUCCEEDED, 1)
    assert log_of(deployment).count("MiB free in") == 1


def test_a_broker_that_is_away_leaves_it_queued_and_says_so(
    inventory: Inventory, use_broker: UseBroker
) -> None:
    port = free_port()
    use_broker(f"redis://:secret@127.0.0.1:{port}/0")
    started = time.monotonic()
    deployment = ask(inventory)
    assert time.monotonic() - started < 2
    deployment.refresh_from_db()
    assert deployment.state == State.QUEUED
    assert deployment.message.startswith("No worker could be woken: ")
    assert str(port) in deployment.message
    assert "secret" not in deployment.message


def test_a_broker_that_says_nothing_is_not_waited_for(
    inventory: Inventory, use_broker: UseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "BROKER_TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_broker(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        deployment = ask(inventory)
        assert time.monotonic() - started < 3
    deployment.refresh_from_db()
    assert deployment.message.startswith("No worker could be woken: ")


@pytest.mark.parametrize(
    ("broker_url", "told"),
    [
        ("foo://broker", "No such transport: foo"),
        ("redis://:secret/@broker/0", "its URL can't be read"),
        ("filesystem://", "No such file or directory"),
        ("embedded://", 'names no "folder"'),
    ],
)
def test_a_broker_that_is_set_wrong_stops_no_request(
    inventory: Inventory, use_broker: UseBroker, tmp_path: Path, broker_url: str, told: str
) -> None:
    use_broker(broker_url, data_folder_out=f"{tmp_path}/missing")
    deployment = ask(inventory)
    deployment.refresh_from_db()
    assert deployment.state == State.QUEUED
    assert told in deployment.message
    assert "secret" not in deployment.message


def test_once_the_broker_is_back_the_message_can_be_woken_again(
    inventory: Inventory, use_broker: UseBroker, redis_url: str, start_worker: StartWorker
) -> None:
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    deployment = ask(inventory)
    use_broker(redis_url)
    start_worker()
    assert dispatch.wake(deployment.pk)
    wait_for_the_end(deployment)
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")


def test_nobody_is_reported_of_what_was_never_committed(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(dispatch, "wake", told.append)
    with transaction.atomic():
        ask(inventory)
        transaction.set_rollback(True)
    assert told == []
    assert not Deployment.objects.exists()
    deployment = ask(inventory)
    assert told == [deployment.pk]
