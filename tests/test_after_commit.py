"""What follows a commit may fail: what was committed stays, and whoever committed goes on."""

from collections.abc import Callable

import pytest

from deploy_manager import dispatch
from deploy_manager.models import Deployment, Resolution, UpgradePolicy
from deploy_manager.packages.resolutions import ask
from deploy_manager.upgrades.policies import ask_for_run
from tests.inventory import Inventory
from tests.parts.admin import make_user

pytestmark = pytest.mark.django_db(transaction=True)


def fail(*_words: object, **_named: object) -> bool:
    raise RuntimeError("no broker")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setattr(f"deploy_manager.{name}", fail)


def test_a_request_stays(inventory: Inventory, failing: Callable[[str], None]) -> None:
    failing("dispatch.wake")
    dispatch.request(inventory.environment, "ping", source="manage.py", requested_by_name="me@here")
    assert Deployment.objects.get().state == "queued"


def test_a_question_stays(inventory: Inventory, failing: Callable[[str], None]) -> None:
    failing("packages.resolutions._wake")
    ask(Resolution.Kind.PINS, [inventory.environment], {}, make_user("ann"))
    assert Resolution.objects.get().is_live


def test_a_run_of_a_policy_stays(failing: Callable[[str], None]) -> None:
    failing("upgrades.policies._wake")
    policy = UpgradePolicy.objects.create(name="nightly", cron="0 2 * * *")
    ask_for_run(policy)
    assert policy.runs.count() == 1
