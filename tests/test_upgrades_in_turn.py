"""Two upgrades of the same environment: what each of them takes back, and what it leaves."""

import pytest

from deploy_manager.models import Environment, UpgradeState
from tests.overrides import HeldSite
from tests.returns import (
    another,
    fail,
    go_on,
    options,
    pins_served,
    requested,
    stage_of,
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
