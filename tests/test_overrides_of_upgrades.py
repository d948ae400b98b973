"""Upgrades write overrides, replace those of earlier ones, and give them back where they return."""

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, Override, State, UpgradeState
from deploy_manager.packages.overrides import lay_over
from deploy_manager.requirements.reading import read_pins
from deploy_manager.upgrades.overriding import note_overrides, return_overrides
from deploy_manager.upgrades.progress import advance_upgrade
from tests.overrides import HeldSite

pytestmark = pytest.mark.django_db


def test_a_newer_upgrade_replaces_an_older_one_and_gives_it_back(held: HeldSite) -> None:
    held.serve("shopkit==1.0")
    first = held.upgrade("shopkit==1.0.2", state=UpgradeState.SUCCEEDED)
    note_overrides(first)
    held.serve("shopkit==1.0.2", repository=("shopkit==1.0",))
    second = held.upgrade("newcomer==1.0", "shopkit==1.1", state=UpgradeState.SUCCEEDED)
    note_overrides(second)
    assert held.live() == {"newcomer": "1.0", "shopkit": "1.1"}
    live = held.environment.overrides.live()
    assert live.get(name="shopkit").before == ["1.0"]
    assert live.get(name="newcomer").before == []
    return_overrides(second)
    assert held.live() == {"shopkit": "1.0.2"}
    assert held.environment.overrides.live().get().upgrade == first.upgrade
    return_overrides(first)
    assert held.live() == {}


def test_an_upgrade_below_a_newer_one_goes_without_taking_that_one_with_it(held: HeldSite) -> None:
    held.serve("shopkit==1.0")
    for version in ("1.0.2", "1.1", "2.0"):
        stage = held.upgrade(f"shopkit=={version}", state=UpgradeState.SUCCEEDED)
        note_overrides(stage)
        held.serve(f"shopkit=={version}", repository=("shopkit==1.0",))
    _first, second, third = held.environment.upgrade_stages.order_by("pk")
    return_overrides(second)
    assert held.live() == {"shopkit": "2.0"}
    return_overrides(third)
    assert held.live() == {"shopkit": "1.0.2"}


@pytest.mark.parametrize(
    ("after", "live"),
    [
        (("shopkit==1.1",), {"shopkit": "1.1", "helper": ""}),
        (("helper==1.0", "shopkit==1.0"), {}),
        (("helper==2.0", "shopkit==1.0.2"), {"helper": "2.0", "shopkit": "1.0.2"}),
    ],
)
def test_an_upgrade_holds_what_it_left_otherwise_than_the_repository(
    held: HeldSite, after: tuple[str, ...], live: dict[str, str]
) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2", repository=("helper==1.0", "shopkit==1.0"))
    held.hold("1.0.2", "1.0")
    note_overrides(held.upgrade(*after))
    assert held.live() == live


def test_a_removal_ends_with_its_own_upgrade_and_with_those_that_moved_that_on(
    held: HeldSite,
) -> None:
    listed = ("helper==1.0", "oldlib==1.0", "shopkit==1.0")
    held.serve(*listed)
    removing = ("helper==1.0", "shopkit==1.0.2")
    unrelated = ("helper==2.0", "shopkit==1.0.2")
    moved_on = ("helper==2.0", "shopkit==1.1")
    for after in (removing, unrelated):
        note_overrides(held.upgrade(*after, state=UpgradeState.SUCCEEDED))
        held.serve(*after, repository=listed)
    assert held.live() == {"helper": "2.0", "oldlib": "", "shopkit": "1.0.2"}
    assert would_install(held, *listed) == set(unrelated)
    assert would_install(held, *listed[:2], "shopkit==1.0.2") == {*unrelated, "oldlib==1.0"}

    note_overrides(held.upgrade(*moved_on, state=UpgradeState.SUCCEEDED))
    assert would_install(held, *listed[:2], "shopkit==1.0.2") == set(moved_on)
    assert would_install(held, *listed[:2], "shopkit==1.1") == {*moved_on, "oldlib==1.0"}


def would_install(held: HeldSite, *repository: str) -> set[str]:
    pins = read_pins("".join(f"{line}\n" for line in repository))
    return {pin.requirement for pin in lay_over(held.environment, pins).pins}


def test_an_upgrade_of_listed_pins_writes_no_override(held: HeldSite) -> None:
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    held.environment.refresh_from_db()
    held.serve("helper==1.0", "shopkit==1.0")
    note_overrides(held.upgrade("helper==1.0", "shopkit==1.1"))
    assert not Override.objects.exists()


def test_an_upgrade_that_failed_elsewhere_does_not_take_a_later_one_back(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0")
    stage = held.upgrade("helper==1.0", "shopkit==1.0.2", state=UpgradeState.RETURNING)
    held.serve("helper==2.0", "shopkit==1.0.2", repository=("helper==1.0", "shopkit==1.0"))
    held.hold("2.0", "1.0", name="helper", since=timezone.now() + timedelta(seconds=5))
    (back,) = advance_upgrade(stage.upgrade_id)
    assert back.release is not None
    assert {pin.name: pin.version for pin in read_pins(back.release.lock.text)} == {
        "helper": "2.0",
        "shopkit": "1.0",
    }


def test_an_upgrade_that_was_cancelled_is_asked_for_again_and_not_retried(held: HeldSite) -> None:
    """A retry would install pins over the repository's that nothing holds there."""
    held.serve("helper==1.0", "shopkit==1.0")
    stage = held.upgrade("helper==1.0", "shopkit==1.0.2", state=UpgradeState.CANCELLED)
    release = held.serve("helper==1.0", "shopkit==1.0.2")
    stage.deployment = held.request("upgrade", **vars(DeploymentOptions(release=release)))
    stage.save()
    stage.deployment.end(State.CANCELLED)
    stage.deployment.host_runs.update(state=State.CANCELLED)
    with pytest.raises(RequestRefused, match=f"upgrade #{stage.upgrade_id}.* request that again"):
        retry(stage.deployment)


@pytest.mark.parametrize("back_to", ["1.0", "1.0.2"])
def test_a_return_revives_nothing_if_a_later_upgrade_moved_the_package(
    held: HeldSite, back_to: str
) -> None:
    held.serve("shopkit==1.0")
    for version in ("1.0.2", "1.1", back_to):
        stage = held.upgrade(f"shopkit=={version}", state=UpgradeState.SUCCEEDED)
        note_overrides(stage)
        held.serve(f"shopkit=={version}", repository=("shopkit==1.0",))
    _first, second, last = held.environment.upgrade_stages.order_by("pk")
    live = {} if back_to == "1.0" else {"shopkit": "1.0.2"}
    assert held.live() == live
    return_overrides(second)
    assert held.live() == live
    return_overrides(last)
    assert held.live() == {"shopkit": "1.0.2"}


@pytest.mark.parametrize("how", [Override.End.CAUGHT_UP, Override.End.DROPPED])
def test_a_return_revives_nothing_that_the_repository_has_overtaken_since(
    held: HeldSite, how: Override.End
) -> None:
    held.serve("shopkit==1.0")
    note_overrides(held.upgrade("shopkit==1.0.2", state=UpgradeState.SUCCEEDED))
    held.serve("shopkit==1.0.2", repository=("shopkit==1.0",))
    later = held.upgrade("shopkit==1.1", state=UpgradeState.SUCCEEDED)
    note_overrides(later)
    held.environment.overrides.all().end(how, "The repository had it.")
    return_overrides(later)
    assert held.live() == {}


def test_an_override_shows_why_it_was_moved_and_which_advisories_that_ended(
    held: HeldSite,
) -> None:
    held.serve("shopkit==1.0")
    stage = held.upgrade("shopkit==1.0.2", state=UpgradeState.SUCCEEDED)
    stage.moves = [
        {"name": "shopkit", "before": "1.0", "after": "1.0.2", "why": "a fix", "fixes": ["CVE-1"]}
    ]
    note_overrides(stage)
    row = held.environment.overrides.live().get()
    assert (row.why, row.fixes) == ("a fix", ["CVE-1"])


@pytest.mark.parametrize(
    ("language", "why"), [("en", "asked for: Sales"), ("fr", "demandé\xa0: Sales")]
)
def test_why_it_was_moved_is_said_in_the_language_of_the_reader(
    held: HeldSite, language: str, why: str
) -> None:
    held.serve("shopkit==1.0")
    stage = held.upgrade("shopkit==1.0.2", state=UpgradeState.SUCCEEDED)
    stage.upgrade.reason = "Sales"
    stage.moves = [{"name": "shopkit", "before": "1.0", "after": "1.0.2", "why": "asked for"}]
    note_overrides(stage)
    with translation.override(language):
        assert str(held.environment.overrides.live().get().why) == why
