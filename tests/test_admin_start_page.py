"""The confirmation page in a browser: what was changed is shown again before it is asked for."""

from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager.models import Deployment, LockFile, Placement, Release
from tests.inventory import Inventory
from tests.parts.admin import make_user
from tests.parts.admin_run import make_served_shop, run_page
from tests.releases import activate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def shop(tmp_path: Path, transactional_db: None) -> Inventory:
    """The newer of two releases, both whole on two servers, serves."""
    made = make_served_shop(tmp_path)
    newer = Release.objects.make(made.environment, "b" * 40, "Sell", LockFile.objects.get())
    names = list(Release.objects.values_list("name", flat=True))
    for release in Release.objects.order_by("pk"):
        activate(made, release)
    Placement.objects.update(complete_releases=names, active_release=newer)
    return made


@pytest.fixture
def rollback(page: Page, live_server: LiveServer, shop: Inventory) -> Page:
    """The page that rolls the shop back."""
    client = Client()
    client.force_login(make_user("ana", superuser=True))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}]
    )
    page.goto(live_server.url + run_page(shop, "rollback"))
    return page


def test_a_server_taken_out_is_shown_again_before_it_runs(rollback: Page) -> None:
    button = rollback.get_by_role("button", name="Roll back on shop/production")
    expect(button).to_be_enabled()
    rollback.get_by_role("checkbox", name="two").uncheck()
    expect(button).to_be_disabled()
    rollback.get_by_role("button", name="Show the plan again").click()
    expect(button).to_be_enabled()
    button.click()
    expect(rollback.locator("[data-field=state]")).to_have_text("queued")
    runs = Deployment.objects.get(recipe="rollback").host_runs.all()
    assert [run.server_name for run in runs] == ["one"]


def test_a_dry_run_keeps_what_was_written_and_can_be_confirmed(rollback: Page) -> None:
    oldest = Release.objects.earliest("pk")
    rollback.get_by_role("radio", name=oldest.commit[:8]).check()
    rollback.get_by_label("Reason").fill("The basket is empty")
    rollback.get_by_role("button", name="Dry run").click()
    commands = rollback.locator(".dm-commands").filter(has_text="current.new")
    expect(commands).to_have_count(2)
    expect(commands.first).to_contain_text(oldest.name)
    assert not Deployment.objects.filter(recipe="rollback").exists()
    rollback.get_by_role("button", name="Roll back on shop/production").click()
    expect(rollback.get_by_text("The basket is empty")).to_be_visible()
    assert Deployment.objects.get(recipe="rollback").release == oldest
