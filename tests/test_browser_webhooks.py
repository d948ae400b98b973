"""Webhooks in a browser: one is added, its secret renewed, and its deliveries read."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager.messages import Message
from deploy_manager.models import IncomingWebhook, OutgoingWebhook
from deploy_manager.sealing import Secret
from tests.inventory import Inventory
from tests.parts.admin import url, write_deployment
from tests.test_browser import log_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_webhook_is_added_and_its_secret_renewed(
    page: Page, live_server: LiveServer, inventory: Inventory
) -> None:
    log_in(page, live_server.url + url("incomingwebhook_add"))
    page.get_by_label("Project").select_option(label="shop")
    page.get_by_label("Name").fill("from-gitlab")
    page.get_by_label("Forge").select_option(label="GitLab")
    page.get_by_label("shop/production").check()
    page.get_by_role("button", name="Save and continue editing").click()
    webhook = IncomingWebhook.objects.get()
    expect(page.get_by_text(f"/deploy/webhooks/{webhook.key}/")).to_be_visible()
    before = webhook.secrets()[0]
    expect(page.get_by_text(before)).to_be_visible()
    page.get_by_role("button", name="Renew secret").click()
    expect(page.get_by_text("The secret is another one now")).to_be_visible()
    expect(page.get_by_text(before)).to_have_count(0)
    outcome = Message("shop/production: #7 deploys 0d1a26e6. It waits: shop/production is busy.")
    for number in range(3):
        webhook.deliveries.create(
            delivery=f"f6e5{number}", event="Push Hook", commit="0d1a26e6" * 5, outcome=outcome
        )
    page.reload()
    expect(page.get_by_text("0d1a26e6", exact=True).first).to_be_visible()
    take_pictures(page, "incoming", page.locator("#content"))


def test_an_outgoing_webhook_fits_its_page(
    page: Page, live_server: LiveServer, inventory: Inventory
) -> None:
    webhook = OutgoingWebhook.objects.create(
        environment=inventory.environment,
        name="sentry",
        form="sentry",
        url="https://sentry.io/api/0/organizations/acme/?project=shop",
        secret=Secret("sntrys-0123456789"),
    )
    deployment = write_deployment(inventory.environment)
    webhook.deliveries.get_or_create(deployment=deployment)
    webhook.deliveries.update(problem=Message("It answered 500."), attempts=1)
    log_in(page, live_server.url + url("environment_change", inventory.environment.pk))
    section = page.locator("#outgoing_webhooks-group")
    expect(section.get_by_text("It answered 500.")).to_be_visible()
    assert "sntrys-0123456789" not in page.content()
    take_pictures(page, "outgoing", section)


def take_pictures(page: Page, name: str, section: Locator) -> None:
    """Keep pictures of a section, where SCREENSHOTS names a folder for them."""
    if not (folder := os.environ.get("SCREENSHOTS")):
        return
    for form, width in (("wide", 1300), ("phone", 390)):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.evaluate("scheme => document.documentElement.dataset.theme = scheme", scheme)
            section.scroll_into_view_if_needed()
            section.screenshot(path=Path(folder) / f"{name}-{form}-{scheme}.png")
