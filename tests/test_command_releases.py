"""`manage.py releases`: which release serves where, and which can be gone back to."""

import pytest

from deploy_manager.deployments.choices import releases_to_return_to
from deploy_manager.models import Release
from tests.commands import call, events
from tests.inventory import Inventory
from tests.parts.hostile import NULL
from tests.parts.matrices import few
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


def test_the_list_shows_where_each_release_is_in_few_columns(shop: Switching) -> None:
    printed = call("releases", "production")
    newest, oldest = printed.split("r1  ")
    assert newest.startswith("r2  Sell shoes\n  made 2")
    assert "\n  serves on: all; complete on: all\n" in newest
    assert "\n  serves on: none; complete on: one\n" in oldest
    assert "\n  marked as bad: It fell over.\n" in oldest
    assert "\x1b[2J" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_json_has_every_server_by_name(shop: Switching) -> None:
    newest, oldest, summary = events(call("releases", "production", "--json"))
    assert newest["serves_on"] == ["one", "two"]
    assert newest["bad_since"] is None
    assert (oldest["serves_on"], oldest["complete_on"]) == ([], ["one"])
    assert oldest["bad_reason"] == "It fell over."
    assert summary == {"event": "summary", "environment": "shop/production", "releases": 2}


def test_a_release_whose_environment_is_not_complete_is_nowhere_complete(shop: Switching) -> None:
    """Its installation failed or was cancelled: the code is there, and nothing could serve it."""
    shop.make_release("r3")
    shop.make_release("r4")
    for name in ("r3", "r4"):
        for server in ("one", "two"):
            venv = shop.folder(server) / "releases" / name / "venv"
            venv.mkdir(parents=True)
            (venv.parent / ".complete").touch()
    (venv / ".complete").touch()
    shop.switch_to("r2")
    printed = events(call("releases", "production", "--json"))
    assert {each["name"]: each["complete_on"] for each in printed[:-1]} == {
        "r1": ["one"],
        "r2": ["one", "two"],
        "r3": [],
        "r4": ["two"],
    }


ODD: list[object] = [5, None, "r1", {"r1": "r1"}, [{}], [["r1"]]]
WITH_A_NAME: list[object] = [["r1"], [{}, None, 5, "r1", ["x"]]]


@pytest.mark.parametrize(
    ("written", "is_there"),
    few(*((odd, True) for odd in WITH_A_NAME), *((odd, False) for odd in ODD), first=4),
    ids=str,
)
def test_of_what_a_server_has_complete_only_names_count(
    shop: Switching, written: object, is_there: bool
) -> None:
    environment = shop.inventory.environment
    environment.placements.update(complete_releases=NULL if written is None else written)
    assert [each.name for each in releases_to_return_to(environment)] == ["r1"] * is_there
    _newest, oldest, _summary = events(call("releases", "production", "--json"))
    assert oldest["complete_on"] == ["one", "two"] * is_there


def test_where_there_is_none_yet_that_is_given(inventory: Inventory) -> None:
    assert call("releases", "production") == "shop/production has no release yet: run deploy.\n"
