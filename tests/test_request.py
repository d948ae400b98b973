"""A request: who may, on which servers, with which steps."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from pytest_django import Settings

from deploy_manager.deployments.request import request
from deploy_manager.exceptions import RequestRefused, UnknownRecipe
from deploy_manager.models import Deployment, State, Step
from deploy_manager.models.rights import Right, may
from deploy_manager.recipes import (
    Host,
    Phase,
    Pipeline,
    Scope,
    Site,
    add_pipeline,
    recipe,
    registry,
)
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import ObjectRights, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(inventory: Inventory) -> Inventory:
    """Two servers for the app, one for static files alone."""
    inventory.add_server("two")
    inventory.add_server("files", roles=("static",))
    return inventory


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """`play`: on every server, then once, then where static files are."""
    monkeypatch.setattr(registry, "_recipes", dict(registry._recipes))
    monkeypatch.setattr(registry, "_pipelines", dict(registry._pipelines))

    def nothing(host: Host, site: Site) -> None: ...

    recipe("Everywhere", name="everywhere")(nothing)
    recipe("Once", name="just_once", scope=Scope.ONCE, roles=["app"])(nothing)
    recipe("Static", name="where_static", roles=["static"])(nothing)
    phases = Phase("a", "A", ("everywhere", "just_once")), Phase("b", "B", ("where_static",))
    made = Pipeline("play", "Play", phases)
    add_pipeline(made)
    return made


def ask(inventory: Inventory, name: str = "deploy", **details: Any) -> Deployment:
    who = {"source": "fab", "requested_by_name": "me@here"}
    return request(inventory.environment, name, **{**who, **details})


def steps_of(deployment: Deployment) -> dict[str, list[str]]:
    return {
        run.server_name: [step.recipe for step in run.steps.all()]
        for run in deployment.host_runs.all()
    }


def test_every_host_gets_the_steps_of_its_roles_in_order(
    shop: Inventory, pipeline: Pipeline
) -> None:
    deployment = ask(shop, "play")
    assert steps_of(deployment) == {
        "one": ["everywhere", "just_once"],
        "two": ["everywhere"],
        "files": ["everywhere", "where_static"],
    }
    last = Step.objects.get(recipe="where_static")
    assert (last.number, last.phase, last.title, last.state) == (2, "b", "Static", State.QUEUED)


def test_what_runs_once_runs_on_the_first_of_the_chosen(
    shop: Inventory, pipeline: Pipeline
) -> None:
    assert steps_of(ask(shop, "play", servers=["two"])) == {"two": ["everywhere", "just_once"]}


def test_hosts_without_a_step_are_left_out(shop: Inventory, pipeline: Pipeline) -> None:
    assert steps_of(ask(shop, "where_static")) == {"files": ["where_static"]}


def test_where_no_chosen_server_has_the_role_it_is_refused(
    shop: Inventory, pipeline: Pipeline
) -> None:
    with pytest.raises(RequestRefused, match="None of the chosen servers has a role"):
        ask(shop, "where_static", servers=["one"])


def test_servers_that_are_not_there_are_named_with_those_that_are(shop: Inventory) -> None:
    with pytest.raises(RequestRefused, match=r"has no server six, ten\. It has: files, one, two"):
        ask(shop, servers=["ten", "one", "six"])


def test_an_environment_without_servers_is_refused(db: None, tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match="shop/production has no servers yet"):
        ask(make_inventory(tmp_path))


def test_an_unknown_recipe_is_reported_with_those_that_are_known(inventory: Inventory) -> None:
    with pytest.raises(UnknownRecipe, match=r"no recipe 'dploy'\. Known: .*ping"):
        ask(inventory, "dploy")


def test_what_is_refused_leaves_nothing_behind(shop: Inventory) -> None:
    refused: list[dict[str, Any]] = [
        {"name": "dploy"},
        {"servers": ["ten"]},
        {"user": make_user("stranger")},
        {"reason": "x" * 501},
    ]
    for details in refused:
        with pytest.raises((UnknownRecipe, RequestRefused, PermissionDenied)):
            ask(shop, **details)
    assert not Deployment.objects.exists()


def test_who_why_and_through_which_source_stands_on_the_row(inventory: Inventory) -> None:
    user = make_user("deployer", "deploy_environment")
    made = ask(inventory, user=user, source="admin", requested_by_name="deployer", reason="Friday")
    made.refresh_from_db()
    assert (made.requested_by, made.requested_by_name) == (user, "deployer")
    assert (made.source, made.reason, made.state) == ("admin", "Friday", State.QUEUED)


def test_a_reason_that_no_database_takes_is_made_one(inventory: Inventory) -> None:
    made = ask(inventory, reason="caf\udce9: see https://me:secret@example.org/")
    made.refresh_from_db()
    assert made.reason == "caf?: see https://[masked]@example.org/"


@pytest.mark.parametrize(
    ("name", "ref", "expected"),
    [("deploy", "", "main"), ("deploy", "v1.0", "v1.0"), ("ping", "v1.0", "")],
)
def test_a_ref_is_kept_where_code_is_taken(
    inventory: Inventory, name: str, ref: str, expected: str
) -> None:
    assert ask(inventory, name, ref=ref).ref == expected


def test_the_right_on_all_environments_will_do(inventory: Inventory) -> None:
    user = make_user("deployer", "deploy_environment")
    assert may(user, Right.DEPLOY, inventory.environment)
    assert ask(inventory, user=user).requested_by == user


def test_and_so_will_the_right_on_this_one(
    inventory: Inventory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ObjectRights, "granted", set())
    settings.AUTHENTICATION_BACKENDS = [
        *settings.AUTHENTICATION_BACKENDS,
        "tests.parts.admin.ObjectRights",
    ]
    user = make_user("mate")
    assert not may(user, Right.DEPLOY, inventory.environment)
    ObjectRights.grant(user, "deploy_environment", inventory.environment)
    assert may(user, Right.DEPLOY, inventory.environment)


def test_to_view_or_change_an_environment_is_not_to_deploy_it(inventory: Inventory) -> None:
    user = make_user("viewer", "view_environment", "change_environment")
    with pytest.raises(
        PermissionDenied, match="viewer lacks deploy_environment on shop/production"
    ):
        ask(inventory, user=user)


def test_who_was_switched_off_may_nothing(inventory: Inventory) -> None:
    owner = make_user("owner", superuser=True)
    assert may(owner, Right.DEPLOY, inventory.environment)
    User.objects.update(is_active=False)
    owner.refresh_from_db()
    assert not may(owner, Right.DEPLOY, inventory.environment)
    assert not may(AnonymousUser(), Right.DEPLOY, inventory.environment)
