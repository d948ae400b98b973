"""What was written by an earlier version is there after an upgrade."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

FIRST = [("deploy_manager", "0001_initial")]


def test_environments_get_keys_and_deployments_a_slice() -> None:
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes("deploy_manager")
    executor.migrate(FIRST)
    try:
        apps = executor.loader.project_state(FIRST).apps
        model = apps.get_model
        project = model("deploy_manager", "Project").objects.create(name="shop", repository="/r")
        environments = [
            model("deploy_manager", "Environment").objects.create(
                project=project, name=name, deploy_path=f"/srv/{name}"
            )
            for name in ("staging", "production")
        ]
        deployment = model("deploy_manager", "Deployment").objects.create(
            environment=environments[0],
            recipe="ping",
            requested_as="me@here",
            door="fab",
            state="succeeded",
            finished_at=timezone.now(),
        )
        model("deploy_manager", "HostRun").objects.create(
            deployment=deployment,
            server_name="one",
            state="succeeded",
            finished_at=timezone.now(),
        )
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(newest)
    apps = executor.loader.project_state(newest).apps
    keys = apps.get_model("deploy_manager", "Environment").objects.values_list("key", flat=True)
    assert len(set(keys)) == 2
    run = apps.get_model("deploy_manager", "HostRun").objects.get()
    assert (run.slice.deployment_id, run.slice.state) == (deployment.pk, "ended")
