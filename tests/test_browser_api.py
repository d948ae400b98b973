"""The page of the API's operations: readable on every screen, with nothing from elsewhere."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.test_browser_approvals import look

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_an_operation_opens_and_says_what_it_takes(page: Page, live_server: LiveServer) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{live_server.url}/deploy/api/v1/docs")
    page.locator("#deploy summary").click()
    expect(page.locator("#deploy")).to_contain_text("take_back")
    look(page, "api")
    assert [address for address in asked if not address.startswith(live_server.url)] == []
