"""The environment's form: strategy, times, schedules, and who is told."""

from typing import Any

import pytest
from django.forms import BaseForm
from django.test import Client
from pytest_django import Settings

from deploy_manager.models import Environment, Notification, Schedule, Server
from tests.inventory import Inventory
from tests.parts.admin import url, visitor


@pytest.fixture
def owner(db: None) -> Client:
    return visitor("owner")


def values(form: BaseForm) -> dict[str, Any]:
    """What a browser would send of a form nobody touched."""
    bound = {form.add_prefix(name): form[name].value() for name in form.fields}
    return {
        name: value if isinstance(value, list) else str(getattr(value, "pk", value))
        for name, value in bound.items()
        if value is not None and value is not False
    }


def save(owner: Client, inventory: Inventory, **changes: Any) -> str:
    """Send the environment's form with some changes; return the page that comes back."""
    address = url("environment_change", inventory.environment.pk)
    context = owner.get(address).context
    sent = values(context["adminform"].form)
    for formset in context["inline_admin_formsets"]:
        for form in (formset.formset.management_form, *formset.formset.forms):
            sent |= values(form)
    return str(owner.post(address, sent | changes, follow=True).content.decode())


def add(inline: str, **fields: Any) -> dict[str, Any]:
    """One more row of an inline."""
    rows = {f"{inline}-0-{name}": value for name, value in fields.items()}
    return {f"{inline}-TOTAL_FORMS": "1", **rows}


def test_strategy_and_times_are_saved(inventory: Inventory, owner: Client) -> None:
    save(
        owner,
        inventory,
        strategy="waves",
        canary="10 %",
        batch="2",
        pause="60",
        max_failures="1",
        role_order='["db", "app"]',
        rollback_on_failure="on",
        windows='["mon-fri 09:00-17:00"]',
        time_zone="Europe/Paris",
    )
    saved = Environment.objects.get()
    assert (saved.strategy, saved.canary, saved.batch, saved.pause) == ("waves", "10 %", "2", 60)
    assert (saved.max_failures, saved.role_order) == ("1", ["db", "app"])
    assert (saved.rollback_on_failure, saved.time_zone) == (True, "Europe/Paris")
    assert saved.windows == ["mon-fri 09:00-17:00"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"canary": "many"},
        {"batch": "0"},
        {"windows": '["someday"]'},
        {"time_zone": "Mars/Base"},
        {"max_failures": "200 %"},
    ],
)
def test_what_is_wrong_is_reported_and_not_saved(
    inventory: Inventory, owner: Client, wrong: dict[str, str]
) -> None:
    assert "errorlist" in save(owner, inventory, **wrong)
    assert Environment.objects.get().time_zone == "UTC"


def test_a_schedule_is_added_and_shows_its_next_time_on_its_own_clock(
    inventory: Inventory, owner: Client
) -> None:
    row = add(
        "schedules",
        recipe="ping",
        cron="0 12 15 1 *",
        time_zone="Europe/Paris",
        deadline="60",
        is_enabled="on",
    )
    assert "was changed successfully" in save(owner, inventory, **row)
    assert Schedule.objects.get().recipe == "ping"
    page = owner.get(url("environment_change", inventory.environment.pk)).content.decode()
    assert "-01-15 12:00 CET" in page


def test_a_schedule_of_what_needs_an_answer_or_never_comes_is_refused(
    inventory: Inventory, owner: Client
) -> None:
    page = owner.get(url("environment_change", inventory.environment.pk)).content.decode()
    assert '<option value="ping">' in page
    assert '<option value="rollback">' not in page
    row = add("schedules", recipe="ping", cron="0 0 31 2 *", time_zone="UTC", deadline="60")
    assert "errorlist" in save(owner, inventory, **row)
    assert not Schedule.objects.exists()


def test_who_is_reported_is_chosen_from_the_settings(
    inventory: Inventory, owner: Client, settings: Settings
) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "NOTIFY": {"team": "json://localhost"}}
    page = owner.get(url("environment_change", inventory.environment.pk)).content.decode()
    assert '<option value="team">team</option>' in page
    assert "json://localhost" not in page
    row = add("notifications", target="team", states=["failed", "succeeded"])
    save(owner, inventory, **row)
    told = Notification.objects.get()
    assert (told.target, told.states) == ("team", ["failed", "succeeded"])
    assert "was changed successfully" in save(owner, inventory)
    assert Notification.objects.get().states == ["failed", "succeeded"]


def test_settings_that_cannot_be_read_close_no_page(
    inventory: Inventory, owner: Client, settings: Settings
) -> None:
    settings.DEPLOY_MANAGER = {"NO_SUCH": 1}
    assert owner.get(url("environment_change", inventory.environment.pk)).status_code == 200


@pytest.mark.django_db
def test_a_new_placement_is_proposed_as_the_last_one(inventory: Inventory, owner: Client) -> None:
    inventory.environment.placements.update(order=7)
    spare = Server.objects.create(name="spare", connection="local")
    address = url("environment_change", inventory.environment.pk)
    page = owner.get(address)
    (placements, *_others) = page.context["inline_admin_formsets"]
    assert placements.formset.empty_form["order"].value() == 8
    assert "The first server is the canary" in page.content.decode()
    roles = {"roles": '["app"]', "own_deploy_path": "", "own_bind": ""}
    row = {f"placements-1-{name}": value for name, value in roles.items()}
    row |= {"placements-TOTAL_FORMS": "2", "placements-1-order": "9"}
    save(owner, inventory, **row)
    assert inventory.environment.placements.count() == 1, "an order alone is no placement"
    save(owner, inventory, **row, **{"placements-1-server": str(spare.pk)})
    added = inventory.environment.placements.get(server=spare)
    assert added.order == 9


def test_a_servers_form_says_what_a_local_one_does_not_use(owner: Client) -> None:
    page = owner.get(url("server_add")).content.decode()
    assert "How the server is reached. A local server uses none of this." in page
