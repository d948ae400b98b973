"""After a cancellation the server is looked at once more, over a connection of its own."""

from typing import Any

import pytest

from deploy_manager.exceptions import ConnectionLost
from deploy_manager.hosts.local import LocalHost
from deploy_manager.models import State
from deploy_manager.recipes import Result, Site
from deploy_manager.runner import host_work
from deploy_manager.runner import run as start
from deploy_manager.runner.host_work import HostWork
from deploy_manager.runner.writer import Writer
from tests.inventory import Inventory

pytestmark = pytest.mark.django_db


def test_that_connection_is_hung_up_even_where_it_breaks(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    class Breaking(LocalHost):
        def run(self, *args: Any, **options: Any) -> Any:
            raise ConnectionLost("The link died.")

        def close(self) -> None:
            closed.append(self.name)

    hosts = iter([LocalHost, Breaking])
    monkeypatch.setattr(
        host_work, "open_host", lambda address, *how: next(hosts)(address.name, *how)
    )
    deployment = inventory.request("ping")
    run = deployment.host_runs.get()
    assert run.placement is not None
    writer = Writer(deployment)
    work = HostWork(run, run.placement, Site(environment="shop", deploy_path="/srv"), writer)
    work.run_phase("run")
    writer.stop.set()
    work.run_phase("none")
    assert closed == ["one"]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_server_that_answers_oddly_spoils_no_deployment(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(LocalHost):
        def run(self, *args: Any, **options: Any) -> Any:
            return Result(0, "releases/r\0\udcff1\n", "")

    monkeypatch.setattr(host_work, "open_host", lambda address, *how: Odd(address.name, *how))
    deployment = inventory.request("ping")
    start(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
