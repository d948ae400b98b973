"""`manage.py releases`: which release serves where, and which can be gone back to."""

import pytest

from deploy_manager.models import Release
from tests.commands import call, events
from tests.inventory import Inventory
from tests.releases import Switching

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(switching: Switching) -> Switching:
    switching.switch_to("r1")
    switching.inventory.add_server("two")
    switching.switch_to("r2")
    Release.objects.filter(name="r2").update(subject="Sell \x1b[2Jshoes")
    Release.objects.get(name="r1").mark_bad("It fell over.")
    return switching


def test_the_table_shows_where_each_release_is(shop: Switching) -> None:
    lines = call("releases", "production").splitlines()
    told = [line.split() for line in lines]
    assert told[0][:3] == ["release", "commit", "subject"]
    assert told[1][0] == "r2"
    assert told[1][-2:] == ["all", "all"]
    assert told[2][0] == "r1"
    assert "none" in told[2]
    assert "It fell over." in " ".join(lines)
    assert "\x1b[2J" not in "".join(lines)


def test_json_has_every_server_by_name(shop: Switching) -> None:
    newest, oldest = events(call("releases", "production", "--json"))
    assert newest["serves_on"] == ["one", "two"]
    assert newest["bad_since"] is None
    assert (oldest["serves_on"], oldest["whole_on"]) == ([], ["one"])
    assert oldest["bad_reason"] == "It fell over."


def test_where_there_is_none_yet_that_is_given(inventory: Inventory) -> None:
    assert call("releases", "production") == "shop/production has no release yet: run deploy.\n"
