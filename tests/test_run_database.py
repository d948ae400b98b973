"""A deployment whose connection to the database is cut while servers are at work."""

import pytest
from django.db import connection, connections
from django.db.models import F

from deploy_manager.deployments import prepare as preparing
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import CodeError
from deploy_manager.models import Deployment, LockFile, Release, Shard, State
from deploy_manager.recipes import Host, Site, Uses, recipe, registry
from tests.inventory import Inventory

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe `cut`: the database ends the connection of whoever runs the deployment."""
    monkeypatch.setattr(registry, "_recipes", dict(registry._recipes))
    of_the_worker = connections["default"]

    @recipe("Cut")
    def cut(host: Host, site: Site) -> None:
        if of_the_worker.connection is not None:
            of_the_worker.connection.close()


def run_it(inventory: Inventory) -> Deployment:
    deployment = inventory.request("cut")
    run(deployment.pk)
    connection.close()
    deployment.refresh_from_db()
    return deployment


def test_a_connection_that_was_cut_while_hosts_worked_is_made_anew(inventory: Inventory) -> None:
    deployment = run_it(inventory)
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")


@pytest.mark.parametrize(
    ("error", "why"),
    [(ConnectionError("cut"), "ConnectionError: cut."), (CodeError("gone"), "gone")],
)
def test_no_deployment_stays_running_behind_an_error_and_a_connection_that_was_cut(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def fail(deployment: Deployment) -> None:
        connection.connection.close()
        raise error

    monkeypatch.setattr(preparing, "_is_rollback", fail)
    deployment = run_it(inventory)
    assert (deployment.state, deployment.message) == (
        State.FAILED,
        f"{why} No server was touched.",
    )


def test_who_lost_the_claim_before_the_first_step_goes_to_no_server(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker that was stopped for a minute, and taken for dead meanwhile."""
    release = Release.objects.make(
        inventory.environment, "a" * 40, "Begin", LockFile.objects.of("a" * 64, "a==1\n")
    )
    went: list[str] = []

    @recipe("Go", uses=Uses.NEWEST)
    def go(host: Host, site: Site) -> None:
        went.append(site.release)

    def lose(deployment: Deployment) -> Release:
        Shard.objects.update(token=F("token") + 1)
        return newest(deployment)

    newest = preparing._newest_release
    monkeypatch.setattr(preparing, "_newest_release", lose)
    run(inventory.request("go").pk)
    assert (went, release.deployments.count()) == ([], 0)
