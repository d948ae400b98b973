"""What serves on a server is seen there, and no odd answer spoils the deployment."""

from typing import Any

import pytest

from deploy_manager.deployments.run import run
from deploy_manager.exceptions import ConnectionLost
from deploy_manager.hosts.guarded import GuardedHost
from deploy_manager.hosts.looking import LookingHost
from deploy_manager.models import State
from deploy_manager.recipes import Result
from tests.inventory import Inventory

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def ping(inventory: Inventory) -> tuple[str, str]:
    deployment = inventory.request("ping")
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment.state, deployment.message


def test_a_server_that_answers_oddly_spoils_no_deployment(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*args: Any) -> Result:
        return Result(0, "releases/r\0\udcff1\n", "")

    for kind in (GuardedHost, LookingHost):
        monkeypatch.setattr(kind, "look", look)
    assert ping(inventory) == (State.SUCCEEDED, "")


def test_where_nobody_can_look_what_was_seen_last_stands(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*args: Any) -> Result:
        raise ConnectionLost("The link died.")

    for kind in (GuardedHost, LookingHost):
        monkeypatch.setattr(kind, "look", look)
    placement = inventory.environment.placements.get()
    placement.complete_releases = ["seen-before"]
    placement.save()
    assert ping(inventory) == (State.SUCCEEDED, "")
    placement.refresh_from_db()
    assert (placement.complete_releases, placement.seen_at) == (["seen-before"], None)
