"""A secret is entered in a browser, with several lines, and can't be read on any screen after."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager.models import SecretVariable
from deploy_manager.sealing import Secret
from deploy_manager.site_secrets import open_secrets
from tests.inventory import Inventory
from tests.parts.admin import url
from tests.test_browser import log_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

KEY = "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----"


def test_a_secret_is_entered_and_never_shown_again(
    page: Page, live_server: LiveServer, inventory: Inventory
) -> None:
    environment = inventory.environment
    environment.variables = {"API_TOKEN": "readable"}
    environment.save()
    SecretVariable.objects.put(environment, "SECRET_KEY", Secret("hunter2-hunter2"), "ana")
    address = live_server.url + url("environment_change", environment.pk)
    log_in(page, address)
    expect(page.get_by_text("these look like secrets: API_TOKEN")).to_be_visible()
    page.get_by_role("link", name="Add another Secret variable").or_(
        page.get_by_role("button", name="Add another Secret variable")
    ).click()
    added = page.locator("#secret_variables-group .form-row.dynamic-secret_variables").last
    added.locator("input[name$=-name]").fill("PRIVATE_KEY")
    typed = added.locator("textarea")
    typed.fill(KEY)
    hidden = typed.evaluate("box => getComputedStyle(box).webkitTextSecurity")
    assert hidden == "disc"
    _take_pictures(page)
    page.get_by_role("button", name="Save and continue editing").click()
    assert open_secrets(environment).variables["PRIVATE_KEY"] == Secret(KEY)
    variable = environment.secret_variables.get(name="PRIVATE_KEY")
    expect(page.get_by_text(variable.fingerprint)).to_be_visible()
    assert "abcdefgh" not in page.content()
    assert "hunter2" not in page.content()


def _take_pictures(page: Page) -> None:
    """Keep pictures of the section, where SCREENSHOTS names a folder for them."""
    if not (folder := os.environ.get("SCREENSHOTS")):
        return
    for name, width in (("wide", 1300), ("phone", 390)):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate("scheme => document.documentElement.dataset.theme = scheme", scheme)
            section = page.locator("#secret_variables-group")
            section.scroll_into_view_if_needed()
            section.screenshot(path=Path(folder) / f"secrets-{name}-{scheme}.png")
            page.screenshot(path=Path(folder) / f"page-{name}-{scheme}.png")
