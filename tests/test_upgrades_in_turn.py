"""Two upgrades of the same environment: what each of them takes back, and what it leaves."""

import pytest

from deploy_manager.deployments.choices import retry
from deploy_manager.models import Environment, State, UpgradeState
from deploy_manager.packages.pins import replace_pins
from deploy_manager.requirements.pins import Pin
from deploy_manager.upgrades.requests import cancel_upgrade
from tests.overrides import HeldSite
from tests.parts.matrices import few
from tests.returns import (
    OLD,
    another,
    deploy_to,
    fail,
    finish,
    go_on,
    list_by_hand,
    listed,
    options,
    pins_served,
    requested,
    serving,
    stage_of,
    upgrade,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def third(held: HeldSite, second: Environment) -> Environment:
    return another(held, "third", "last")


@pytest.mark.parametrize("is_listed", few(False, True))
@pytest.mark.parametrize("is_newer", few(True, False))
def test_two_upgrades_that_are_both_taken_back_leave_nothing(
    held: HeldSite, second: Environment, third: Environment, is_listed: bool, is_newer: bool
) -> None:
    if is_listed:
        list_by_hand(held.environment, second, third)
    one = upgrade(held, held.environment, second)
    other = go_on(requested(held.environment, third, wanted=options("1.1")))
    if is_newer:
        held.pin(*OLD)
        held.deploy()
    assert "shopkit==1.1" in held.served()
    fail(one, second)
    assert stage_of(one, held.environment).state == UpgradeState.ROLLED_BACK
    assert "shopkit==1.1" in held.served()
    fail(other, third)
    stage = stage_of(other, held.environment)
    assert stage.state == UpgradeState.ROLLED_BACK, stage.message
    assert pins_served(held)["shopkit"] == "1.0"
    assert held.live() == {}
    if is_listed:
        assert listed(held.environment) == {"helper": "1.0", "shopkit": "1.0"}


@pytest.mark.long
def test_an_upgrade_back_to_the_repositorys_version_outlives_the_return_of_the_one_before(
    held: HeldSite, second: Environment
) -> None:
    go_on(requested(held.environment))
    before = go_on(requested(held.environment, second, wanted=options("1.1")))
    go_on(requested(held.environment, wanted=options("1.0")))
    held.deploy()
    fail(before, second)
    assert stage_of(before, held.environment).state == UpgradeState.ROLLED_BACK
    assert held.live() == {}
    held.deploy()
    assert pins_served(held)["shopkit"] == "1.0"


@pytest.mark.long
def test_a_late_correction_blocks_no_other_environment(
    held: HeldSite, second: Environment, third: Environment
) -> None:
    """Another upgrade was at work in the first one as it should have been rolled back."""
    made = upgrade(held, held.environment, second, third)
    made.stages.filter(environment=second).update(opens_at=None)
    go_on(made)
    held.pin(*OLD)
    deploy_to(held, second)
    held.environment.freeze("Sales", "ana")
    other = go_on(requested(held.environment, wanted=options("1.1")))
    full = held.inventory.folder / "later/full"
    full.touch()
    fail(made, third)
    back = stage_of(made, second).returned_by
    assert back is not None
    assert stage_of(made, second).state == UpgradeState.FAILED
    full.unlink()
    held.environment.thaw("ana")
    cancel_upgrade(other, "bob")
    go_on(other)
    recipe, again = retry(back)
    first, held.environment = held.environment, second
    done = held.see_through(held.request(recipe, **vars(again)))
    held.environment = first
    assert done.state == State.SUCCEEDED, done.message
    finish(made)
    assert stage_of(made, second).state == UpgradeState.ROLLED_BACK
    assert not made.is_live
    assert go_on(requested(held.environment, wanted=options("1.1"))).state == UpgradeState.SUCCEEDED


@pytest.mark.parametrize("is_listed", few(True, False))
def test_what_a_person_installed_anew_is_not_taken_back(
    held: HeldSite, second: Environment, is_listed: bool
) -> None:
    if is_listed:
        list_by_hand(held.environment, second)
    made = upgrade(held, held.environment, second)
    before = stage_of(made, held.environment).release_before
    assert held.see_through(held.request("rollback", release=before)).state == State.SUCCEEDED
    theirs = go_on(requested(held.environment))
    assert theirs.state == UpgradeState.SUCCEEDED
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, stage.returned_by) == (UpgradeState.ROLLED_BACK, None)
    assert "installed the same there" in stage.message
    assert "shopkit==1.0.2" in held.served()
    if is_listed:
        assert listed(held.environment)["shopkit"] == "1.0.2"
    else:
        assert held.live() == {"shopkit": "1.0.2"}
        assert held.environment.overrides.live().get().upgrade == theirs
    held.deploy()
    assert "shopkit==1.0.2" in held.served()


def test_what_an_upgrade_installed_anew_goes_with_that_one(
    held: HeldSite, second: Environment, third: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    before = stage_of(made, held.environment).release_before
    held.see_through(held.request("rollback", release=before))
    theirs = go_on(requested(held.environment, third))
    fail(made, second)
    fail(theirs, third)
    assert stage_of(theirs, held.environment).state == UpgradeState.ROLLED_BACK
    assert (serving(held), held.live()) == (before, {})


@pytest.mark.parametrize("ends", few("succeeded", "cancelled"))
def test_a_return_waits_for_another_upgrade_and_is_made_up_for(
    held: HeldSite, second: Environment, ends: str
) -> None:
    made = upgrade(held, held.environment, second)
    held.environment.freeze("Sales", "ana")
    other = go_on(requested(held.environment, wanted=options("2.0", "helper")))
    fail(made, second)
    assert made.state == UpgradeState.WAITING
    assert f"#{other.pk}" in made.message
    assert stage_of(made, held.environment).state == UpgradeState.SUCCEEDED
    held.environment.thaw("ana")
    if ends == "cancelled":
        cancel_upgrade(other, "ana")
    finish(made)
    other.refresh_from_db()
    assert other.state == ends
    assert stage_of(made, held.environment).state == UpgradeState.ROLLED_BACK
    assert made.state == UpgradeState.FAILED
    assert "shopkit==1.0.2" not in held.served()
    assert ("helper==2.0" in held.served()) == (ends == "succeeded")


def test_what_is_to_go_back_once_another_upgrade_has_ended_can_be_cancelled(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    held.environment.freeze("Sales", "ana")
    other = go_on(requested(held.environment, wanted=options("2.0", "helper")))
    fail(made, second)
    assert made.goes_forward
    assert cancel_upgrade(made, "ana")
    held.environment.thaw("ana")
    finish(made)
    other.refresh_from_db()
    assert other.state == UpgradeState.SUCCEEDED
    assert stage_of(made, held.environment).state == UpgradeState.SUCCEEDED
    assert made.state == UpgradeState.FAILED
    assert "shopkit==1.0.2" in held.served()


def test_pins_that_people_listed_between_two_upgrades_stay_theirs(
    held: HeldSite, second: Environment, third: Environment
) -> None:
    list_by_hand(held.environment, second, third)
    one = upgrade(held, held.environment, second)
    replace_pins(held.environment, [Pin("helper", "2.0"), Pin("shopkit", "1.0.2")])
    held.deploy()
    other = go_on(requested(held.environment, third, wanted=options("1.1")))
    fail(one, second)
    fail(other, third)
    assert listed(held.environment) == {"helper": "2.0", "shopkit": "1.0"}
    assert stage_of(other, held.environment).state == UpgradeState.ROLLED_BACK
