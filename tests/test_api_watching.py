"""Watching costs as many queries for one server as for a thousand, and for any length of log."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deploy_manager.models import Deployment, Environment, Placement, Server, State, Step
from tests.inventory import Inventory
from tests.parts.admin import make_user, write_deployment, write_output
from tests.parts.api import Caller, caller

pytestmark = [pytest.mark.django_db, pytest.mark.database]

MOST = 20
"""Queries of a poll at most: the token and its limits, the rights, and what changed."""


@pytest.fixture
def boss() -> User:
    return make_user("boss", superuser=True)


def on_servers(environment: Environment, number: int, state: State) -> Deployment:
    """Write a deployment on so many servers, each with output."""
    for index in range(environment.placements.count(), number):
        server = Server.objects.create(name=f"web{index}", connection=Server.Connection.LOCAL)
        Placement.objects.create(environment=environment, server=server, order=index + 1)
    deployment = write_deployment(environment, state=state)
    for step in Step.objects.filter(host_run__deployment=deployment).select_related("host_run"):
        write_output(step, b"a line\n")
    return deployment


def count(who: Caller, path: str, **query: object) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert who.get(path, **query).status_code == 200
    return len(queries)


@pytest.mark.parametrize("state", [State.RUNNING, State.SUCCEEDED, State.WAITING])
def test_a_poll(boss: User, inventory: Inventory, state: State) -> None:
    limited = caller(boss, inventory.environment)
    for who in (caller(boss), limited):
        counts = set()
        for number in (2, 64):
            deployment = on_servers(inventory.environment, number, state)
            where = f"deployments/{deployment.pk}/events"
            count(who, where)  # the first request of a token notes its use
            counts.add(count(who, where))
            assert count(who, where, after=deployment.sequence + 1000) <= max(counts)
            deployment.delete()
        assert len(counts) == 1
        assert counts.pop() <= MOST


def test_an_environment_and_a_list_of_them(boss: User, inventory: Inventory) -> None:
    who = caller(boss)
    who.get("me")
    site = inventory.environment
    on_servers(site, 2, State.SUCCEEDED)
    paths = ("environments", f"environments/{site}", "servers", "deployments")
    few = [count(who, path) for path in paths]
    on_servers(site, 16, State.SUCCEEDED)
    for name in ("staging", "testing"):
        Environment.objects.create(project=site.project, name=name, deploy_path=f"/srv/{name}")
    assert [count(who, path) for path in paths] == few
