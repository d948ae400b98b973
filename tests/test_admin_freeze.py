"""The button that freezes an environment, the mark of a frozen one, and how it is thawed."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from deploy_manager.models import Environment
from tests.inventory import Inventory
from tests.parts.admin import make_user, url, visitor


def pages(inventory: Inventory, client: Client) -> tuple[str, str]:
    """The list and the page of the environment."""
    addresses = url("environment_changelist"), url("environment_change", inventory.environment.pk)
    one, two = (client.get(address).content.decode() for address in addresses)
    return one, two


def freeze(client: Client, inventory: Inventory, **sent: str) -> str:
    address = url("environment_freeze", inventory.environment.pk)
    answer = client.post(address, {"reason": "", "until": "", **sent}, follow=True)
    inventory.environment.refresh_from_db()
    return str(answer.content.decode())


def test_a_freeze_says_who_and_why_wherever_the_environment_is_shown(inventory: Inventory) -> None:
    owner = visitor("owner")
    assert "Freeze…" in pages(inventory, owner)[1]
    freeze(owner, inventory, reason="Sale <b>now</b>")
    frozen = inventory.environment.active_freeze
    assert frozen is not None
    assert (frozen.frozen_by_name, str(frozen.frozen_by)) == ("owner", "owner")
    listed, page = pages(inventory, owner)
    assert "dm-frozen" in listed
    assert "frozen by owner until it is thawed: Sale &lt;b&gt;now&lt;/b&gt;" in page
    assert "Thaw…" in page
    assert "frozen by owner" in LogEntry.objects.get().change_message


def test_it_may_have_an_end(inventory: Inventory) -> None:
    until = timezone.now() + timedelta(days=2)
    freeze(visitor("deployer"), inventory, reason="Sale", until=f"{until:%Y-%m-%dT%H:%M}")
    kept = inventory.environment.freezes.get().until
    assert kept is not None
    assert abs(kept - until) < timedelta(minutes=1)


def test_times_are_typed_and_shown_on_the_environments_own_clock(inventory: Inventory) -> None:
    Environment.objects.update(time_zone="Europe/Paris")
    owner = visitor("owner")
    form = url("environment_freeze", inventory.environment.pk)
    assert "Time zone: Europe/Paris." in owner.get(form).content.decode()
    told = freeze(owner, inventory, reason="Sale", until="2099-11-30T08:00")
    kept = inventory.environment.freezes.get()
    assert kept.until == datetime(2099, 11, 30, 7, tzinfo=UTC)
    assert "until 2099-11-30 08:00 CET: Sale" in told
    assert 'value="2099-11-30T08:00"' in owner.get(form).content.decode()
    history = pages(inventory, owner)[1].split("<th>Until</th>")[1].split("field-")[0]
    assert "11/30/2099 8 a.m." in history
    assert "Time zone: Europe/Paris." in history


@pytest.mark.parametrize(
    "sent", [{"reason": ""}, {"reason": "x" * 501}, {"reason": "Sale", "until": "2001-01-01T00:00"}]
)
def test_what_is_wrong_is_reported_and_freezes_nothing(
    inventory: Inventory, sent: dict[str, str]
) -> None:
    assert "errorlist" in freeze(visitor("deployer"), inventory, **sent)
    assert not inventory.environment.is_frozen


def test_thawing_lets_it_change_again(inventory: Inventory) -> None:
    deployer = visitor("deployer")
    inventory.environment.freeze("Sale", "ana")
    assert (
        "Sale" in deployer.get(url("environment_freeze", inventory.environment.pk)).content.decode()
    )
    assert "may change again" in freeze(deployer, inventory, _thaw="1")
    assert not inventory.environment.is_frozen
    assert "was not frozen" in freeze(deployer, inventory, _thaw="1")


@pytest.mark.parametrize(
    ("who", "status"), [("owner", 200), ("deployer", 200), ("viewer", 403), ("stranger", 404)]
)
def test_only_who_may_deploy_freezes(inventory: Inventory, who: str, status: int) -> None:
    client = visitor(who)
    address = url("environment_freeze", inventory.environment.pk)
    assert client.get(address).status_code == status
    client.post(address, {"reason": "Sale"})
    assert Environment.objects.get().is_frozen == (status == 200)


def test_a_viewer_sees_the_freeze_and_no_button(inventory: Inventory) -> None:
    inventory.environment.freeze("Sale", "ana")
    listed, page = pages(inventory, visitor("viewer"))
    assert "dm-frozen" in listed
    assert "Sale" in page
    assert "Thaw…" not in page


def test_freezing_needs_a_token(inventory: Inventory) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("ana", superuser=True))
    address = url("environment_freeze", inventory.environment.pk)
    assert strict.post(address, {"reason": "Sale"}).status_code == 403
