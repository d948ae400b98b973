"""How many queries a request and its plan take does not depend on how many servers there are."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.request import request
from deploy_manager.models import Environment, LockFile, Release
from tests.inventory import Inventory

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
