"""Two upgrades of the same environment: what each of them takes back, and what it leaves."""

import pytest

from deploy_manager.deployments.choices import retry
from deploy_manager.models import Environment, State, UpgradeState
from deploy_manager.upgrades.requests import cancel_upgrade
from tests.overrides import HeldSite
from tests.returns import (
    OLD,
    another,
    deploy_to,
    fail,
    finish,
    go_on,
    options,
    pins_served,
    requested,
    stage_of,
    upgrade,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def third(held: HeldSite, second: Environment) -> Environment:
    return another(held, "third", "last")


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
