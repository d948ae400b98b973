"""From a page that waits for approval to one that is approved, by clicks; and a pause that ends."""

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager.deployments.approvals import decide
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.models import Environment, State
from tests.owners import owned, person
from tests.parts.admin import url
from tests.parts.admin_run import make_served_shop
from tests.releases import PIPELINE, Switching
from tests.test_browser import log_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LOOKS = {
    "wide-light": (1300, 900, "light"),
    "wide-dark": (1300, 900, "dark"),
    "phone-light": (390, 844, "light"),
    "phone-dark": (390, 844, "dark"),
}


def look(page: Page, name: str, *, fits: bool = True) -> None:
    """See that a page fits into its window; keep pictures where SCREENSHOTS names a folder."""
    for kind, (width, height, scheme) in LOOKS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width or not fits, f"{name} is {wide} wide on {kind}"
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}-{kind}.png", full_page=True)
    page.set_viewport_size({"width": 1300, "height": 900})


def test_a_click_approves(page: Page, live_server: LiveServer, switching: Switching) -> None:
    Environment.objects.update(approvals_needed=2)
    site = switching.inventory.environment
    site.refresh_from_db()
    asker = person("asker", "deploy_environment", "run_recipe_environment")
    deployment = request(
        site,
        PIPELINE,
        source="admin",
        requested_by_name="asker",
        user=asker,
        options=DeploymentOptions(release=switching.make_release("new"), reason="New prices"),
    )
    decide(deployment, person("ben", "approve_environment"), approves=True, reason="Looks well.")
    log_in(page, f"{live_server.url}{url('deployment_change', deployment.pk)}")
    expect(page.get_by_role("heading", name="Approvals: 1 of 2")).to_be_visible()
    look(page, "approval")
    page.get_by_label("Reason").fill("Read it twice.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved.")).to_be_visible()
    assert deployment.approvals.count() == 2
    deployment.refresh_from_db()
    assert deployment.state != State.WAITING
    page.goto(f"{live_server.url}{url('deployment_changelist')}?approval=given")
    look(page, "list")


def test_the_page_that_confirms_says_what_it_waits_for_and_breaks_glass(
    page: Page, live_server: LiveServer, tmp_path: Path
) -> None:
    shop = make_served_shop(tmp_path)
    Environment.objects.update(approvals_needed=1)
    address = url("environment_run", "deploy", on=shop.environment.pk)
    log_in(page, f"{live_server.url}{address}")
    expect(page.get_by_text("Waits for approval: 0 of 1.")).to_be_visible()
    Environment.objects.update(health_path="/up")
    page.get_by_label("Break-glass: without approvals and checks").check()
    page.get_by_label("Reason").fill("The shop is down.")
    page.locator("input[name=_confirm], input[name=_wait]").first.click()
    expect(page.get_by_text("Not as it was shown:")).to_be_visible()
    look(page, "confirming")
    page.locator("input[name=_confirm], input[name=_wait]").first.click()
    expect(page.get_by_text("Break-glass:")).to_be_visible()
    look(page, "glass")


def test_a_paused_schedule_is_confirmed_by_a_click(
    page: Page, live_server: LiveServer, switching: Switching
) -> None:
    site = switching.inventory.environment
    schedule = owned(site.schedules.create(recipe="ping", cron="0 2 * * *"))
    site.schedules.create(recipe="ping", cron="0 3 * * *")
    Environment.objects.update(reload_method="command", reload_target="touch /tmp/mine")
    log_in(page, f"{live_server.url}{url('environment_change', site.pk)}")
    expect(page.get_by_role("button", name="Take over")).to_be_visible()
    look(page, "paused", fits=False)  # its placements are wider
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("acts again, in the name of owner")).to_be_visible()
    schedule.refresh_from_db()
    assert not schedule.paused
    assert User.objects.filter(username="ana").exists()
