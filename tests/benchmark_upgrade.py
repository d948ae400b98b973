"""`script/test -s tests/benchmark_upgrade.py`: one library of 31 pins, moved on four servers.

Our upgrade (by pip and by uv) in turn with plain Fabric in parallel: `pip install -U` in the
environment that serves, and a new environment beside it, with the ratios to both. Then from an
advisory to all servers, with a real worker and scheduler. Prints medians; asserts nothing of time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.utils import timezone
from pytest_django import Settings

from deploy_manager import dispatch
from deploy_manager.deployments.run import run
from deploy_manager.models import (
    AuditedVersion,
    Deployment,
    Environment,
    PolicyRun,
    State,
    Step,
    Upgrade,
    UpgradePolicy,
    UpgradeState,
)
from deploy_manager.packages.inventory import take_inventories
from deploy_manager.packages.pins import pins_of
from deploy_manager.requirements.pins import lock_text
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.plan import UpgradeOptions, plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.big_shop import Shop
from tests.owners import owned
from tests.parts.osv import OsvStub
from tests.parts.plain_fabric import PlainServers
from tests.parts.step_times import times_of_steps
from tests.parts.worker import StartScheduler, StartWorker, UseBroker

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS, ROUNDS_OF_ADVISORIES = 3, 3
IN_PLACE, BESIDE = "Fabric: pip install -U where it serves", "Fabric: new environment beside"
PATIENCE = 180.0
"""Seconds."""


def deploy(shop: Shop) -> None:
    deployment = shop.inventory.request("deploy")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.SUCCEEDED, deployment.message
    take_inventories(shop.environment.placements.all())


def upgrade(shop: Shop, installer: str) -> None:
    """Upgrade the library by our own way, in this process."""
    Environment.objects.update(installer=installer)
    shop.environment.refresh_from_db()
    shop.release_a_version()
    began, began_at = time.perf_counter(), timezone.now()
    plan = plan_upgrade([shop.environment], UpgradeOptions((PinRequest("shopkit", Reach.LATEST),)))
    planned = time.perf_counter()
    asked = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    advance_upgrade(asked.pk)
    for pk in Deployment.objects.busy().values_list("pk", flat=True):
        run(pk)
    advance_upgrade(asked.pk)
    took = time.perf_counter() - began
    asked.refresh_from_db()
    assert asked.state == UpgradeState.SUCCEEDED, asked.message
    shop.note(f"our upgrade by {installer}", took)
    verified = (last_verified(asked) - began_at).total_seconds()
    shop.note(f"   {installer}: until the last is verified", verified)
    shop.note(f"   {installer}: plan, resolve", planned - began)
    note_steps(shop, installer, asked, took - (planned - began))


def last_verified(asked: Upgrade) -> datetime:
    """When the last server was seen to serve; what follows is only tidying up."""
    steps = Step.objects.filter(host_run__deployment=asked.stages.get().deployment)
    verified = steps.filter(recipe="verify", finished_at__isnull=False)
    return max(step.finished_at for step in verified.exclude(phase="roll_back") if step.finished_at)


def note_steps(shop: Shop, installer: str, asked: Upgrade, took: float) -> None:
    deployment = asked.stages.get().deployment
    assert deployment is not None
    for name, seconds in times_of_steps(deployment, took).items():
        shop.note(f"   {installer}: {name}", seconds)


@pytest.fixture
def start_plain(shop: Shop) -> Iterator[Callable[[str], PlainServers]]:
    """Serve the site in another folder of the same servers, by plain Fabric."""
    with ExitStack() as stack:

        def start(folder: str) -> PlainServers:
            plain = PlainServers(shop.sshds, folder, shop.index.url)
            stack.callback(plain.end)
            plain.copy_code(shop.repository, variables_of(shop, plain))
            plain.build_beside("first", lock_text(pins_of(shop.environment)))
            plain.wait_until_all_say("shopkit 1.1")
            return plain

        yield start


def test_a_library_moves_on_four_servers(
    shop: Shop, start_plain: Callable[[str], PlainServers]
) -> None:
    deploy(shop)
    in_place, beside = start_plain("in_place"), start_plain("beside")
    for number in range(ROUNDS + 1):
        for installer in ("pip", "uv"):
            upgrade(shop, installer)
        version = f"1.{shop.number}"
        began = time.perf_counter()
        in_place.upgrade_in_place(f"shopkit=={version}")
        in_place.wait_until_all_say(f"shopkit {version}")
        shop.note(IN_PLACE, time.perf_counter() - began)
        began = time.perf_counter()
        beside.build_beside(f"v{number}", lock_text(pins_of(shop.environment)))
        beside.wait_until_all_say(f"shopkit {version}")
        shop.note(BESIDE, time.perf_counter() - began)
    print("\n" + shop.told())
    for installer in ("pip", "uv"):
        ours = shop.median(f"our upgrade by {installer}")
        for other in (IN_PLACE, BESIDE):
            ratio = ours / shop.median(other)
            print(f"ours by {installer} takes {ratio:.2f} times as long as {other}")


def variables_of(shop: Shop, plain: PlainServers) -> dict[str, str]:
    database = f"{shop.sshds[0].home}/{plain.folder}.sqlite3"
    return {**shop.environment.variables, "DATABASE_PATH": database}


@pytest.fixture
def workers(
    shop: Shop,
    osv: OsvStub,
    settings: Settings,
    redis_url: str,
    start_worker: StartWorker,
    start_scheduler: StartScheduler,
    use_broker: UseBroker,
) -> None:
    """A worker and a scheduler in processes of their own; what is due is seen every second."""
    settings.DEPLOY_MANAGER = {
        **settings.DEPLOY_MANAGER,
        "ADVISORIES": [osv.url],
        "LOOK_UP_EVERY": 5,
    }
    use_broker(redis_url)
    start_worker()
    start_scheduler(1)


def test_from_an_advisory_to_all_servers(shop: Shop, osv: OsvStub, workers: None) -> None:
    """The advisories are due to be asked for from the start; the policy's minute is waited for."""
    dispatch.request(shop.environment, source="manage.py", requested_by_name="me@here")
    moment(lambda: not Deployment.objects.live().exists())
    moment(lambda: shop.environment.placements.filter(installed__name="shopkit").count() == 4)
    policy = UpgradePolicy.objects.create(
        name="Security", cron="* * * * *", soak=0, looked_at=timezone.now()
    )
    policy.turns.create(environment=shop.environment)
    owned(policy)
    for number in range(ROUNDS_OF_ADVISORIES):
        fixed = shop.release_a_version()
        AuditedVersion.objects.update(tried_at=None)  # LOOK_UP_EVERY is over
        began = timezone.now()
        osv.add(f"GHSA-{number}", "shopkit", fixed=fixed)
        known = moment(partial(is_known_to_be_vulnerable, shop))
        moment(partial(has_ended, number + 1))
        note_an_advisory(shop, began, known)
    print("\n" + shop.told())


def has_ended(number: int) -> bool:
    return Upgrade.objects.count() == number and not Upgrade.objects.live().exists()


def moment(is_so: Callable[[], bool]) -> datetime:
    """Wait until something is so; return when that was."""
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "It did not come to be."
        time.sleep(0.05)
    return timezone.now()


def note_an_advisory(shop: Shop, began: datetime, known: datetime) -> None:
    asked = Upgrade.objects.latest("pk")
    assert asked.state == UpgradeState.SUCCEEDED, asked.message
    verified = last_verified(asked)
    due = PolicyRun.objects.get(upgrades=asked).slot
    moments = {
        "   until the worker knows it": (began, known),
        "   until the policy's next minute": (known, max(due, known)),
        "   until the upgrade is resolved and asked for": (max(due, known), asked.created_at),
        "   until all servers are verified": (asked.created_at, verified),
        "from the advisory to all servers": (began, verified),
    }
    for name, (start, end) in moments.items():
        shop.note(name, (end - start).total_seconds())
    waited = max(due - known, timedelta())
    shop.note("without waiting for the minute", (verified - began - waited).total_seconds())


def is_known_to_be_vulnerable(shop: Shop) -> bool:
    pinned = next(pin.version for pin in pins_of(shop.environment) if pin.name == "shopkit")
    return AuditedVersion.objects.filter(
        name="shopkit", version=pinned, advisories__isnull=False
    ).exists()
