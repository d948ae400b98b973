"""How many queries a request and its plan take does not depend on how many servers there are."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.request import request
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Placement,
    Release,
    Server,
    State,
)
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment

pytestmark = pytest.mark.django_db


def serve_on(inventory: Inventory, *names: str) -> Environment:
    """Add servers that serve a release, and return the environment as it is found by a source."""
    release = Release.objects.make(
        inventory.environment, "a" * 40, "Begin", LockFile.objects.of("a" * 64, "a==1\n")
    )
    for name in names:
        placement = inventory.add_server(name)
        placement.active_release = release
        placement.save()
    return Environment.objects.select_related("project").get()


def count_plan(environment: Environment) -> int:
    with CaptureQueriesContext(connection) as queries:
        plan = make_plan(environment, "ping")
        assert {server.commit_now for server in plan.servers[1:]} == {"a" * 40}
    return len(queries)


def count_request(environment: Environment) -> int:
    with CaptureQueriesContext(connection) as queries:
        deployment = request(environment, "ping", source="manage.py", requested_by_name="me@here")
    names = [run.server_name for run in deployment.host_runs.all()]
    assert names == [entry.server.name for entry in environment.placements.all()]
    deployment.request_cancel("me")
    return len(queries)


def test_a_plan(inventory: Inventory) -> None:
    few = count_plan(serve_on(inventory, "two"))
    assert count_plan(serve_on(inventory, "three", "four", "five")) == few


def test_a_request(inventory: Inventory) -> None:
    few = count_request(serve_on(inventory, "two"))
    assert count_request(serve_on(inventory, "three", "four", "five")) == few


def test_pages_of_many_hosts_ask_as_often_as_those_of_few(inventory: Inventory) -> None:
    owner = visitor("owner")

    def asked(deployment: Deployment) -> list[int]:
        counts = []
        for address in (
            url("deployment_change", deployment.pk),
            url("deployment_progress", deployment.pk),
            url("deployment_changelist"),
        ):
            owner.get(address)
            with CaptureQueriesContext(connection) as queries:
                assert owner.get(address).status_code == 200
                counts.append(len(queries))
        return counts

    as_ended: dict[str, Any] = {"state": State.SUCCEEDED, "titles": ("Fetch", "Build")}
    count = asked(write_deployment(inventory.environment, **as_ended))
    servers = Server.objects.bulk_create(
        Server(name=f"web{number:02d}", connection="local") for number in range(60)
    )
    Placement.objects.bulk_create(
        Placement(environment=inventory.environment, server=each, own_deploy_path=f"/srv/{each}")
        for each in servers
    )
    many = write_deployment(inventory.environment, **as_ended)
    assert many.host_runs.count() > 60
    assert asked(many) == count
