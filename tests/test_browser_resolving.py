"""Pages that wait for a worker's answer and become it, in a browser, with a real worker."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager.models import Environment, Resolution, Upgrade
from tests.inventory import Inventory
from tests.parts.admin import url
from tests.parts.index import Index
from tests.parts.worker import StartWorker
from tests.resolutions import answer_all
from tests.test_browser import log_in
from tests.test_browser_packages import pictures  # noqa: F401  a fixture
from tests.upgrades import Site4

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Pictures = Callable[[str], None]


def test_an_import_waits_for_a_worker_and_goes_on_by_itself(
    page: Page,
    live_server: LiveServer,
    inventory: Inventory,
    package_index: Index,
    start_worker: StartWorker,
    pictures: Pictures,  # noqa: F811
) -> None:
    package_index.add("shopkit", "1.0", requires=("helper",))
    package_index.add("helper", "2.0")
    Environment.objects.update(index_url=package_index.url)
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    log_in(page, live_server.url + url("environment_requirements", inventory.environment.pk))
    page.get_by_label("Requirements", exact=True).fill("shopkit\n")
    page.get_by_label("Let uv find the versions").check()
    page.get_by_role("button", name="Show the changes").click()
    expect(page.get_by_role("status")).to_contain_text("queued: no worker has taken it yet")
    expect(page.get_by_text("Is a worker running?")).to_be_visible(timeout=15_000)
    pictures("waiting")

    start_worker()

    save = page.get_by_role("button", name="Write these requirements")
    expect(save).to_be_visible(timeout=30_000)
    expect(page.get_by_role("rowheader", name="helper")).to_be_visible()
    page.reload()
    pictures("imported")
    save.click()
    expect(page.get_by_text("2 requirements written.")).to_be_visible()
    assert not mistakes


def test_an_upgrade_is_shown_as_a_worker_planned_it_and_confirmed(
    page: Page,
    live_server: LiveServer,
    four: Site4,
    pictures: Pictures,  # noqa: F811
) -> None:
    four.index.add("shopkit", "1.1", requires=("helper",))
    asks = f"?package=shopkit&environment={four.environment.pk}"
    log_in(page, live_server.url + url("upgrade_add") + asks)
    page.get_by_role("button", name="Show what would move").click()
    expect(page.get_by_role("status")).to_contain_text("queued")
    Resolution.objects.claim(Resolution.objects.get().pk)
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"running for \d"))
    pictures("running")
    Resolution.objects.update(state=Resolution.State.QUEUED)
    answer_all()
    expect(page.get_by_role("button", name="Upgrade 1 environment")).to_be_visible()
    pictures("planned")
    page.get_by_role("button", name="Upgrade 1 environment").click()
    expect(page.get_by_text("source: admin")).to_be_visible()
    assert Upgrade.objects.get().stages.count() == 1
