"""What was written by an earlier version is there after an upgrade."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import StateApps
from django.utils import timezone

from deploy_manager.models import Advisory, Deployment, Environment, HostRun, Placement, Step

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

FIRST = [("deploy_manager", "0001_initial")]


@contextmanager
def as_of(state: list[tuple[str, str]]) -> Iterator[StateApps]:
    """Go back to a state of the tables, and on to the newest when that is left."""
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes("deploy_manager")
    executor.migrate(state)
    try:
        yield executor.loader.project_state(state).apps
    finally:
        MigrationExecutor(connection).migrate(newest)


def test_an_advisory_of_two_packages_gets_the_name_that_was_told() -> None:
    with as_of([("deploy_manager", "0005_packages_advisories_and_upgrades")]) as apps:
        rows = apps.get_model("deploy_manager", "Advisory").objects
        rows.create(identifier="CVE-1", package="django", aliases=["GHSA-1"])
        rows.create(identifier="CVE-1 (fork)", package="fork", aliases=["CVE-1", "GHSA-1"])
    told = Advisory.objects.order_by("package").values_list("identifier", "package", "aliases")
    assert list(told) == [("CVE-1", "django", ["GHSA-1"]), ("CVE-1", "fork", ["GHSA-1"])]


def test_environments_get_keys_and_deployments_a_slice() -> None:
    with as_of(FIRST) as apps:
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
    keys = Environment.objects.values_list("key", flat=True)
    assert len(set(keys)) == 2
    run = HostRun.objects.get()
    assert (run.slice.deployment_id, run.slice.state) == (deployment.pk, "ended")


def test_what_is_under_way_gets_the_decisions_it_was_asked_for_with() -> None:
    then = timezone.now() - timedelta(days=1)
    with as_of([("deploy_manager", "0007_names_that_git_allows")]) as apps:
        model = partial(apps.get_model, "deploy_manager")
        project = model("Project").objects.create(name="shop", repository="/r")
        site = model("Environment").objects.create(
            project=project,
            name="production",
            deploy_path="/srv/shop",
            pause=60,
            max_failures="1",
            rollback_on_failure=True,
        )
        lock = model("Lock").objects.create(digest="d" * 64, text="")
        release = model("Release").objects.create(
            environment=site, name="r1", commit="c" * 40, lock=lock
        )
        server = model("Server").objects.create(name="one", connection="local")
        placement = model("Placement").objects.create(
            environment=site, server=server, active_release=release
        )
        told = {"requested_as": "me@here", "door": "fab", "environment": site}
        ended = {"state": "succeeded", "finished_at": then}
        for recipe, fields in (
            ("deploy", {"release": release, **ended}),
            ("warm", {"ref": "main", "state": "running"}),
            ("ping", {"state": "waiting"}),
        ):
            deployment = model("Deployment").objects.create(recipe=recipe, **told, **fields)
            held = model("Slice").objects.create(deployment=deployment, number=1, state="ended")
            run = model("HostRun").objects.create(
                deployment=deployment, slice=held, placement=placement, server_name="one"
            )
            for number, (phase, name) in enumerate(
                (("migrate", "migrate"), ("activate", "activate"), ("own", "warm")), 1
            ):
                model("Step").objects.create(
                    host_run=run, number=number, phase=phase, recipe=name, title=name, **ended
                )
    decided = Deployment.objects.order_by("pk").values_list(
        "recipe", "uses", "sends_code", "pause", "max_failures", "rolls_back"
    )
    assert list(decided)[1:] == [
        ("warm", "new", True, 60, "1", True),
        ("ping", "current", False, 60, "1", True),
    ]
    steps = Step.objects.order_by("number").values_list(
        "phase", "phase_title", "gate", "in_waves", "once"
    )
    assert list(steps.distinct()) == [
        ("migrate", "Migrate", True, False, True),
        ("activate", "Activate", False, True, False),
        ("own", "", True, False, False),
    ]
    assert Placement.objects.get().activated_at == then
