"""Releases of one commit with other pins: wherever one is shown or chosen, they are told apart."""

from typing import Any

import pytest

from deploy_manager.deployments.choices import choose_release
from deploy_manager.deployments.comparing import twins_of
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import LockFile, Placement, Release
from deploy_manager.requirements.pins import lock_digest
from tests.commands import call, call_and_be_refused, events
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import url, visitor
from tests.parts.admin_run import run_page

pytestmark = pytest.mark.django_db

OLD = "django==5.2.8\ngreetings==1.0\n"
NEW = "django==5.2.8\ngreetings==1.0.2\n"
DIFFERENCE = "greetings 1.0.2 instead of 1.0"


def make(inventory: Inventory, name: str, lock: str, commit: str = "c") -> Release:
    return Release.objects.create(
        environment=inventory.environment,
        name=name,
        commit=commit * 40,
        subject="Sell shoes",
        lock=LockFile.objects.of(lock_digest(lock), lock),
    )


@pytest.fixture
def shop(tmp_path: Any, db: None) -> Inventory:
    """Releases r1 and r2 of one commit, then r3 of another, all whole; r3 serves."""
    made = make_inventory(tmp_path)
    made.add_server("one")
    make(made, "r1", OLD)
    make(made, "r2", NEW)
    serves(make(made, "r3", NEW, "d"))
    Placement.objects.update(complete_releases=["r1", "r2", "r3"])
    return made


def serves(release: Release) -> None:
    Placement.objects.update(active_release=release)


def difference(*names: str) -> list[str]:
    found = twins_of(Release.objects.all())
    return [str(found.get(Release.objects.get(name=name).pk, "")) for name in names]


def test_each_names_the_other_and_what_is_otherwise(shop: Inventory) -> None:
    assert difference("r1", "r2", "r3") == [
        "same commit as r2, pins differ: greetings 1.0 instead of 1.0.2",
        "same commit as r1, pins differ: greetings 1.0.2 instead of 1.0",
        "",
    ]


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        (NEW, "same commit as r1, pins differ: greetings 1.0.2 instead of 1.0"),
        ("django==5.2.8\n", "same commit as r2, pins differ: no greetings instead of 1.0.2"),
        (f"{NEW}more==1\n", "same commit as r2, pins differ: more 1 instead of none"),
        (NEW + "".join(f"more{n}==1\n" for n in range(7)), " and 2 more"),
        (
            NEW.replace("\n", f" --hash=sha256:{'a' * 64}\n"),
            "same commit as r2, same versions, but other hashes, extras or markers",
        ),
        ("greetings>=1\n", "same commit as r2, pins that can't be compared: "),
        (
            "",
            "same commit as r2, pins differ: no django instead of 5.2.8, no greetings instead of"
            " 1.0.2",
        ),
    ],
)
def test_whatever_the_other_pins_are_it_is_reported(shop: Inventory, lock: str, told: str) -> None:
    make(shop, "r4", lock)
    assert told in difference("r4")[0]


def test_what_was_deployed_twice_has_the_same_pins(shop: Inventory) -> None:
    make(shop, "r4", NEW, "d")
    assert difference("r3", "r4") == [
        "same commit as r4, same pins",
        "same commit as r3, same pins",
    ]


def test_other_environments_have_no_twins_here(shop: Inventory, tmp_path: Any) -> None:
    environment = shop.environment
    environment.pk, environment.name = None, "staging"
    environment.key, environment.deploy_path = "5" * 32, str(tmp_path / "staging")
    environment._state.adding = True
    environment.save()
    make(Inventory(environment, tmp_path), "other", OLD, "d")
    assert difference("r3") == [""]


@pytest.mark.parametrize("beginning", ["c", "ccccccc", "c" * 40])
def test_a_commit_of_several_releases_is_refused_with_their_names(
    shop: Inventory, beginning: str
) -> None:
    told = call_and_be_refused("rollback", "production", "--to", beginning)
    assert f"Several releases have a commit that begins with {beginning}: name one." in told
    assert "- r1: same commit as r2" in told
    assert f"- r2: same commit as r1, pins differ: {DIFFERENCE}" in told
    for name in ("r1", "r2"):
        assert choose_release(shop.environment, name).name == name


def test_a_beginning_of_several_commits_is_refused_too(shop: Inventory) -> None:
    Release.objects.filter(name="r1").update(commit="ce" * 20)
    with pytest.raises(RequestRefused, match=r"- r2: c{40}\n- r1: (ce){20}"):
        choose_release(shop.environment, "c")
    assert choose_release(shop.environment, "ce").name == "r1"


def test_a_commit_of_one_release_that_can_be_gone_back_to_is_enough(shop: Inventory) -> None:
    serves(Release.objects.get(name="r2"))
    assert choose_release(shop.environment, "ccc").name == "r1"


def test_the_list_of_a_terminal_tells_them_apart(shop: Inventory) -> None:
    words = " ".join(call("releases", "production").split())
    assert "1.0.2 instead of 1.0" in words
    newest, second, first, _summary = events(call("releases", "production", "--json"))
    assert (newest["same_commit_as"], newest["pin_changes"]) == (None, [])
    assert second["same_commit_as"] == "r1"
    assert second["pin_changes"] == [{"name": "greetings", "before": "1.0", "after": "1.0.2"}]
    assert first["lock"] != second["lock"]


def shown(page: str, who: str = "owner") -> str:
    answer = visitor(who).get(page)
    assert answer.status_code == 200
    return answer.content.decode().replace("&gt;", ">")


def test_the_page_of_a_rollback_tells_them_apart(shop: Inventory) -> None:
    page = shown(run_page(shop, "rollback"), "deployer")
    assert "compared with now: pins differ: greetings 1.0 instead of 1.0.2" in page
    assert "compared with now: same pins" in page


def test_lists_of_releases_tell_them_apart(shop: Inventory) -> None:
    assert DIFFERENCE in shown(url("release_changelist"))


def test_who_marks_one_as_bad_sees_which(shop: Inventory) -> None:
    marked = ",".join(str(release.pk) for release in Release.objects.all())
    assert DIFFERENCE in shown(url("release_mark_bad", on=marked))


def test_servers_that_differ_by_their_pins_are_told_apart(shop: Inventory) -> None:
    for name in ("two", "three"):
        shop.add_server(name)
    serves(Release.objects.get(name="r2"))
    deviation = Placement.objects.get(server__name="one")
    deviation.active_release = Release.objects.get(name="r1")
    deviation.save()
    page = shown(run_page(shop, "converge"), "deployer")
    assert "pins differ: greetings 1.0 instead of 1.0.2" in page
