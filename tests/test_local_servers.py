"""The worker's own machine is a server only where a setting says so."""

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from pytest_django import Settings

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError, InvalidRow
from deploy_manager.inventories.formats import read_inventory
from deploy_manager.inventory.changes import REFUSED, Wanted
from deploy_manager.inventory.comparing import plan_import
from deploy_manager.models import Server
from tests.inventory import Inventory
from tests.parts.admin import url, visitor

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def usual(settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER}
    del settings.DEPLOY_MANAGER["LOCAL_SERVERS"]


def test_it_is_off_and_switched_by_nothing_but_true(settings: Settings) -> None:
    assert get_settings().LOCAL_SERVERS is False
    settings.DEPLOY_MANAGER = {"LOCAL_SERVERS": "no"}
    with pytest.raises(ConfigurationError, match=r"LOCAL_SERVERS.* has to be True or False"):
        get_settings()
    with pytest.raises(ValidationError, match="has to be True or False"):
        Server(name="here", connection="local").full_clean()


def test_a_form_refuses_it_and_says_what_to_do() -> None:
    owner = visitor("owner")
    sent = {"name": "here", "connection": "local", "port": 22}
    page = owner.post(url("server_add"), sent).content.decode()
    assert "The worker&#x27;s own machine is no server here" in page
    assert not Server.objects.exists()


def test_an_import_refuses_it() -> None:
    inventory = read_inventory(b"here ansible_connection=local\n", "ansible-ini")
    (planned,) = plan_import(inventory, Wanted()).planned
    assert planned.state == REFUSED
    assert "own machine is no server here" in str(planned.why)


def test_the_worker_refuses_a_row_that_was_written_around_the_form(inventory: Inventory) -> None:
    server = Server.objects.get()
    with pytest.raises(InvalidRow, match="own machine is no server here"):
        address_of(server)


def test_a_check_names_such_servers(
    inventory: Inventory, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("check", "--tag", "deploy_manager")
    told = capsys.readouterr().err
    assert "deploy_manager.W012" in told
    assert "Nothing is sent to one: that is the worker's own machine." in told
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "LOCAL_SERVERS": True}
    call_command("check", "--tag", "deploy_manager")
    assert "W012" not in capsys.readouterr().err
