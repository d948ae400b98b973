"""An environment's form in a browser: servers that are added come last, one after the other."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.inventory import Inventory
from tests.parts.admin import url
from tests.test_browser import log_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_each_added_placement_has_the_next_order(
    page: Page, live_server: LiveServer, inventory: Inventory
) -> None:
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    inventory.environment.placements.update(order=7)
    log_in(page, live_server.url + url("environment_change", inventory.environment.pk))
    for order in ("8", "9"):
        page.get_by_role("link", name="Add another Placement").or_(
            page.get_by_role("button", name="Add another Placement")
        ).click()
        added = page.locator("#placements-group .form-row.dynamic-placements").last
        expect(added.locator("input[name$=-order]")).to_have_value(order)
    assert mistakes == []
