"""A worker died in the middle of a command: what becomes of it is never said without a look."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from deploy_manager.deployments import host_work, run, writer
from deploy_manager.deployments.prepare import Prepared, prepare
from deploy_manager.exceptions import HostUnreachable
from deploy_manager.models import Deployment, Shard, State
from deploy_manager.recipes import Host, Site, recipe
from tests.inventory import Inventory
from tests.parts.matrices import few
from tests.parts.served import wait_until
from tests.test_take_over import fall_silent, run_apart

pytestmark = [pytest.mark.database, pytest.mark.workers, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def quiet(own_recipes: None) -> None:
    """A recipe of one command that prints nothing, so that no row says how far it came."""

    @recipe("Quietly")
    def quietly(host: Host, site: Site) -> None:
        began, go, done = (f"{site.deploy_path}/{name}" for name in ("began", "go", "done"))
        host.run(
            f"touch {began}; while [ ! -e {go} ]; do sleep 0.1; done; touch {done}", quiet=True
        )


@pytest.fixture(autouse=True)
def slow_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker writes of its own accord before its first commands run."""
    monkeypatch.setattr(writer, "SOON_SECONDS", 5.0)


def left_behind(inventory: Inventory) -> Deployment:
    """A deployment whose worker was killed while the commands of its servers ran."""
    deployment = inventory.request("quietly")
    worker = run_apart(deployment)
    folders = [inventory.folder / run.server_name for run in deployment.host_runs.all()]
    wait_until(lambda: all((folder / "began").exists() for folder in folders))
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    fall_silent(deployment)
    return deployment


def one_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "MAX_HOSTS_AT_ONCE": 1}


def slow_to_prepare(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare_slowly(held: Shard) -> Prepared:
        time.sleep(1.5)  # longer than until the cancellation is seen
        return prepare(held)

    monkeypatch.setattr(run, "prepare", prepare_slowly)


def at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None: ...


@pytest.mark.parametrize("taken_over", few(slow_to_prepare, at_once, one_at_a_time))
def test_one_that_is_cancelled_meanwhile_is_stopped_on_every_server(
    inventory: Inventory,
    quiet: None,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    taken_over: Callable[[Settings, pytest.MonkeyPatch], None],
) -> None:
    inventory.add_server("two")
    deployment = left_behind(inventory)
    deployment.request_cancel("ana")
    taken_over(settings, monkeypatch)
    run.run(deployment.pk)
    for host in deployment.host_runs.all():
        assert host.state == State.CANCELLED
        folder = inventory.folder / host.server_name
        (folder / "go").touch()
        time.sleep(0.5)  # five times as long as the command would take to see it
        assert not (folder / "done").exists(), f"it goes on: {host.message}"


def test_one_on_a_server_that_nobody_reaches_any_more_is_lost_not_failed(
    inventory: Inventory, quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = left_behind(inventory)

    def refuse(*args: Any, **options: Any) -> None:
        raise HostUnreachable("one can't be reached.")

    monkeypatch.setattr(host_work, "open_guarded", refuse)
    run.run(deployment.pk)
    assert deployment.host_runs.get().state == State.LOST
    (inventory.folder / "one/go").touch()
