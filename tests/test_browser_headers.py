"""A browser runs no script on our pages but the admin's own, and shows them in no frame."""

import pytest
from django.test import Client, override_settings
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from tests.parts.admin import url, visitor
from tests.test_browser import log_in

SLIPPED_IN = """() => {
  document.body.insertAdjacentHTML("beforeend", "<img src=/none onerror='window.ran = 1'>");
  const script = document.createElement("script");
  script.textContent = "window.ran = 1";
  document.body.append(script);
  return new Promise(done => setTimeout(() => done(window.ran === undefined), 300));
}"""


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_script_that_slipped_into_a_page_does_not_run(
    browser: Browser, live_server: LiveServer
) -> None:
    page = browser.new_context().new_page()
    log_in(page, live_server.url + url("server_changelist"))
    page.get_by_role("heading", name="Select server to change").wait_for()
    assert page.evaluate(SLIPPED_IN)
    page.context.close()


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_django_s_own_widgets_work_under_our_policy(page: Page, live_server: LiveServer) -> None:
    """The page notes what its policy refuses: a search field, a popup."""
    log_in(page, live_server.url + url("server_add"))
    page.locator(".select2-selection").click()
    page.locator(".select2-search__field").fill("web")
    page.get_by_text("No results found").wait_for()
    page.keyboard.press("Escape")
    with page.expect_popup() as opened:
        page.locator("a.add-related").first.click()
    opened.value.wait_for_load_state()
    opened.value.close()


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["server_changelist", "server_import", "environment_add"])
def test_every_page_says_what_a_browser_may_do(page: str) -> None:
    client: Client = visitor("owner")
    answer = client.get(url(page))
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert f"'nonce-{answer.context['csp_nonce']}'" in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert policy != client.get(url(page)).headers["Content-Security-Policy"]


@pytest.mark.django_db
def test_a_project_may_have_a_policy_of_its_own_and_its_static_files_elsewhere() -> None:
    client = visitor("owner")
    with override_settings(DEPLOY_MANAGER={"CONTENT_SECURITY_POLICY": False}):
        answer = client.get(url("server_changelist"))
    assert "Content-Security-Policy" not in answer.headers
    with override_settings(STATIC_URL="https://static.example.org/x/"):
        answer = client.get(url("server_changelist"))
    assert "script-src 'self' https://static.example.org " in answer["Content-Security-Policy"]
