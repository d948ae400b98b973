"""Four servers, an advisory, a policy: the broken version goes back by itself, the good one comes.

Everything is real: sshd, gunicorn, Redis, the scheduler, the resolver, the audit, the browser. Only
the clock is helped on: a policy's next minute is now.
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from django.db.models import F
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from deploy_manager import dispatch
from deploy_manager.models import (
    AuditedVersion,
    Deployment,
    Environment,
    PolicyRun,
    Server,
    State,
    Upgrade,
    UpgradePolicy,
    UpgradeState,
)
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.requirements.completing import complete_pins
from tests.inventory import Inventory
from tests.owners import owned
from tests.parts.admin import url
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.index import Index
from tests.parts.osv import OsvStub
from tests.parts.repository import Repository
from tests.parts.sshd import StartSshd
from tests.parts.worker import StartScheduler, StartWorker, UseBroker
from tests.test_browser import log_in
from tests.test_over_ssh import place, reach_over_ssh

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SITE = {
    "manage.py": "",
    "site_wsgi.py": """
import shopkit
def application(environ, start_response):
    words = shopkit.greet()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [words.encode()]
""",
}
GOOD = "def greet(): return 'shopkit {}'\n"
BROKEN = "def greet(): raise RuntimeError('broken')\n"
PATIENCE = 120.0
"""Seconds."""


def wait_until_it_is(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "It did not come to be."
        time.sleep(0.2)


@pytest.fixture
def index(package_index: Index, tmp_path: Path) -> Index:
    """gunicorn as it is, and the shop's own kit in its first version."""
    words = ["download", "--quiet", "--dest", str(tmp_path / "wheels")]
    subprocess.run(
        [sys.executable, "-m", "pip", *words, f"gunicorn=={version('gunicorn')}"], check=True
    )
    for file in (tmp_path / "wheels").glob("*.whl"):
        package_index.offer(file)
    offer(package_index, "1.0", GOOD)
    return package_index


def offer(index: Index, number: str, code: str) -> None:
    index.add("shopkit", number, modules={"shopkit/__init__.py": code.format(number)})


NAMES = ("web1", "web2", "web3", "web4")


@pytest.fixture
def production(
    repository: Repository,
    index: Index,
    start_sshd: StartSshd,
    ssh_settings: Settings,
    tmp_path: Path,
    transactional_db: None,
) -> Iterator[Inventory]:
    """`shop/production` on four servers over SSH; its pins are listed in the admin."""
    repository.commit("Greet", SITE)
    made = make_site(tmp_path, repository, tmp_path / "unused.sqlite3")
    Environment.objects.update(
        wsgi_application="site_wsgi:application",
        index_url=index.url,
        pins_from=Environment.PinsFrom.ROWS,
        health_text="shopkit",
    )
    made.environment.refresh_from_db()
    for number, name in enumerate(NAMES, 1):
        sshd = start_sshd(ListenAddress=f"127.0.9.{number}")
        server = Server(name=name)
        reach_over_ssh(server, sshd)
        place(made, server, sshd)
    asked = f"gunicorn=={version('gunicorn')}\nshopkit\n"
    replace_pins(made.environment, complete_pins(asked, index_url=index.url))
    yield made
    end_gunicorns(made.environment)


@pytest.fixture
def workers(
    production: Inventory,
    osv: OsvStub,
    settings: Settings,
    redis_url: str,
    start_worker: StartWorker,
    start_scheduler: StartScheduler,
    use_broker: UseBroker,
) -> None:
    """A worker and a scheduler in processes of their own, which look facts up every second."""
    settings.DEPLOY_MANAGER = {
        **settings.DEPLOY_MANAGER,
        "ADVISORIES": [osv.url],
        "LOOK_UP_EVERY": 1,
        "INVENTORY_EVERY": 5,
    }
    use_broker(redis_url)
    start_worker()
    start_scheduler(1)


def make_policy(environment: Environment) -> UpgradePolicy:
    policy = UpgradePolicy.objects.create(
        name="Security", cron="* * * * *", soak=0, cooldown=3, looked_at=timezone.now()
    )
    policy.turns.create(environment=environment)
    return owned(policy)


def let_a_minute_pass() -> None:
    """The clock is all that is not real: what ran this minute ran an hour ago."""
    PolicyRun.objects.update(slot=F("slot") - timedelta(hours=1))
    UpgradePolicy.objects.update(looked_at=timezone.now() - timedelta(minutes=2))


def answers(environment: Environment) -> list[str]:
    """What the sites say, server by server."""
    return [_answer(f"http://{placement.bind}/") for placement in environment.placements.all()]


def _answer(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)


def pinned(environment: Environment) -> str:
    return next(pin.version for pin in pins_of(environment) if pin.name == "shopkit")


def installed(environment: Environment) -> set[str]:
    found = environment.placements.filter(installed__name="shopkit")
    return set(found.values_list("installed__version", flat=True))


def see_the_end_of_the_next_upgrade(number: int) -> Upgrade:
    let_a_minute_pass()
    wait_until_it_is(lambda: Upgrade.objects.count() == number)
    wait_until_it_is(lambda: not Upgrade.objects.latest("pk").is_live)
    return Upgrade.objects.latest("pk")


@pytest.mark.long
def test_a_policy_ends_an_advisory_on_four_servers(
    production: Inventory,
    index: Index,
    osv: OsvStub,
    workers: None,
    live_server: LiveServer,
    page: Page,
) -> None:
    shop = production.environment
    deployment = dispatch.request(shop, source="manage.py", requested_by_name="me@here")
    wait_until_it_is(lambda: not Deployment.objects.live().exists())
    deployment.refresh_from_db()
    assert deployment.state == State.SUCCEEDED, deployment.message
    assert answers(shop) == ["shopkit 1.0"] * 4
    wait_until_it_is(lambda: installed(shop) == {"1.0"})
    make_policy(shop)

    offer(index, "1.0.1", BROKEN)
    osv.add("GHSA-shop", "shopkit", fixed="1.0.1", summary="It gives the till away.")
    AuditedVersion.objects.update(tried_at=None)  # some hours pass
    wait_until_it_is(shop_is_known_to_be_vulnerable)
    upgrade = see_the_end_of_the_next_upgrade(1)
    assert upgrade.state == UpgradeState.ROLLED_BACK, upgrade.message
    stage = upgrade.stages.get()
    assert stage.deployment is not None
    runs = stage.deployment.host_runs.order_by("pk")
    assert [run.was_switched for run in runs] == [True, False, False, False]
    assert answers(shop) == ["shopkit 1.0"] * 4
    assert pinned(shop) == "1.0"

    let_a_minute_pass()
    outcomes = PolicyRun.objects.values_list("outcome", flat=True)
    wait_until_it_is(lambda: any("not tried again" in outcome for outcome in outcomes.all()))
    assert Upgrade.objects.count() == 1

    offer(index, "1.0.2", GOOD)
    upgrade = see_the_end_of_the_next_upgrade(2)
    assert upgrade.state == UpgradeState.SUCCEEDED, upgrade.message
    assert answers(shop) == ["shopkit 1.0.2"] * 4
    assert pinned(shop) == "1.0.2"
    wait_until_it_is(lambda: installed(shop) == {"1.0.2"})

    log_in(page, f"{live_server.url}{url('installedpackage_changelist')}?show=all")
    row = page.get_by_role("row").filter(has=page.get_by_text("shopkit", exact=True))
    expect(row.get_by_text("1.0.2").first).to_be_visible()
    page.goto(f"{live_server.url}{url('upgrade_change', upgrade.pk)}")
    expect(page.locator('.dm-big .dm-state[data-state="succeeded"]')).to_be_visible()
    expect(page.get_by_text("fixes GHSA-shop")).to_be_visible()


def shop_is_known_to_be_vulnerable() -> bool:
    found = AuditedVersion.objects.filter(name="shopkit", version="1.0")
    return any(each.advisories.exists() for each in found)
