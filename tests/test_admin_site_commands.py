"""The page that runs a one-off command: it is shown as it will run, and only that is confirmed."""

import json

import pytest

from deploy_manager.models import Deployment, Placement
from tests.inventory import Inventory
from tests.parts.admin import url, visitor
from tests.releases import Switching

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(inventory: Inventory) -> Inventory:
    """A release is known to serve on the servers `one` and `two`; no server is asked."""
    inventory.add_server("two")
    release = Switching(inventory).make_release("r1")
    Placement.objects.update(active_release=release)
    return inventory


def command_page(shop: Inventory) -> str:
    return url("environment_command", shop.environment.pk)


def test_it_is_shown_as_it_will_run_and_then_confirmed(
    shop: Inventory, django_capture_on_commit_callbacks: object
) -> None:
    owner = visitor("owner")
    change = owner.get(url("environment_change", shop.environment.pk)).content.decode()
    assert command_page(shop) in change
    sent = {"command": "tell 'a <b>' --now", "server": "two", "reason": "to see"}
    shown = owner.post(command_page(shop), {**sent, "_look": "1"})
    page = shown.content.decode()
    for word in ("tell", "a &lt;b&gt;", "--now"):
        assert f">{word}</code></li>" in page
    assert "Run it on two" in page
    assert "<code>r1</code>" in page
    assert not Deployment.objects.exists()

    confirmed = {**sent, "shown": shown.context["to_show"], "_confirm": "1"}
    answer = owner.post(command_page(shop), confirmed)

    deployment = Deployment.objects.get()
    assert answer.url == url("deployment_change", deployment.pk)  # type: ignore[attr-defined]
    assert deployment.arguments == ["tell", "a <b>", "--now"]
    assert (deployment.recipe, deployment.reason) == ("manage_site", "to see")
    assert deployment.host_runs.get().server_name == "two"
    page = owner.get(answer.url).content.decode()  # type: ignore[attr-defined]
    assert "manage.py tell &#x27;a &lt;b&gt;&#x27; --now" in page


@pytest.mark.parametrize(
    "shown", ["", json.dumps([["other"], "one", "r1"]), json.dumps([["tell"], "one", "r0"])]
)
def test_what_was_not_shown_is_not_run(shop: Inventory, shown: str) -> None:
    sent = {"command": "tell", "server": "one", "reason": "", "shown": shown, "_confirm": "1"}
    page = visitor("owner").post(command_page(shop), sent).content.decode()
    assert "This has changed since it was shown" in page
    assert "Run it on one" in page
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("tell 'a", "check the quotes"),
        ("tell \\", "check the quotes"),
        ("--settings=x migrate", "Begin with the name of a command"),
        ("''", "Begin with the name of a command"),
        (" ", "This field is required"),
    ],
)
def test_words_that_are_no_command_are_explained(shop: Inventory, command: str, why: str) -> None:
    sent = {"command": command, "server": "one", "_confirm": "1"}
    page = visitor("owner").post(command_page(shop), sent).content.decode()
    assert why in page
    assert not Deployment.objects.exists()


def test_a_server_that_serves_nothing_is_explained(shop: Inventory) -> None:
    Placement.objects.update(active_release=None)
    sent = {"command": "tell", "server": "one", "_look": "1"}
    page = visitor("owner").post(command_page(shop), sent).content.decode()
    assert "No release serves there yet" in page


def test_only_who_may_deploy_may_run_one(shop: Inventory) -> None:
    assert visitor("deployer").get(command_page(shop)).status_code == 200
    viewer = visitor("viewer")
    assert viewer.get(command_page(shop)).status_code == 403
    page = viewer.get(url("environment_change", shop.environment.pk)).content.decode()
    assert command_page(shop) not in page
    assert visitor("stranger").get(command_page(shop)).status_code == 404


def test_it_has_no_action_of_its_own(shop: Inventory) -> None:
    owner = visitor("owner")
    listed = owner.get(url("environment_changelist")).content.decode()
    assert "run_manage_site" not in listed
    asked = owner.get(url("environment_run", "manage_site", on=shop.environment.pk))
    assert asked.url == command_page(shop)  # type: ignore[attr-defined]
    page = owner.get(url("environment_change", shop.environment.pk)).content.decode()
    assert 'value="clean_up"' in page  # a schedule's choice
    assert 'value="manage_site"' not in page
