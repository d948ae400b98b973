"""From a click to a site that answers, with a browser, a worker process and gunicorns."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.inventory import Inventory
from tests.parts.admin import url
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.processes import free_port
from tests.parts.repository import Repository
from tests.parts.worker import StartWorker

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DEPLOYED_WITHIN = 120_000
"""Milliseconds; two environments are filled from the package index."""


@pytest.fixture
def production(
    tmp_path: Path, guestbook: Repository, transactional_db: None
) -> Iterator[Inventory]:
    """`shop/production` on two local servers, each with a gunicorn that ends with the test."""
    made = make_site(tmp_path / "sites", guestbook, tmp_path / "guestbook.sqlite3")
    made.folder.mkdir()
    for name in ("one", "two"):
        placement = made.add_server(name)
        placement.own_bind = f"127.0.0.1:{free_port()}"
        placement.save()
    yield made
    end_gunicorns(made.environment)


@pytest.fixture
def picture(page: Page) -> Callable[[str], None]:
    """Keep a picture of the page, where SCREENSHOTS names a folder for them."""

    def take(name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    return take


def log_in(page: Page, address: str) -> None:
    User.objects.create_superuser("ana", password="only for tests")
    page.goto(address)
    page.get_by_label("Username").fill("ana")
    page.get_by_label("Password").fill("only for tests")
    page.get_by_role("button", name="Log in").click()


def tick_and_choose(page: Page, row: str, action: str) -> None:
    page.get_by_role("row", name=row).get_by_role("checkbox").check()
    page.get_by_role("combobox", name="Action").select_option(label=action)
    page.locator("button[name=index]").click()


NOTE_FIRST_LINE = """
new MutationObserver((_changes, observer) => {
  if (!document.querySelector(".dm-log pre")?.textContent) return;
  observer.disconnect();
  requestAnimationFrame(() => { window.firstLineAt = Date.now() / 1000; });
}).observe(document, { childList: true, subtree: true, characterData: true });
"""
"""For all pages to come. Waiting for it from outside would look twice a second only."""


def confirm(page: Page) -> float:
    """Press the button; return the seconds until the first line of a log stands on the page."""
    page.add_init_script(NOTE_FIRST_LINE)
    pressed = time.time()
    page.get_by_role("button", name="Deploy on shop/production").click()
    page.wait_for_function("() => window.firstLineAt")
    return float(page.evaluate("window.firstLineAt")) - pressed


def test_a_click_deploys_a_site_that_answers(
    page: Page,
    live_server: LiveServer,
    production: Inventory,
    start_worker: StartWorker,
    guestbook: Repository,
    picture: Callable[[str], None],
) -> None:
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    start_worker()

    log_in(page, live_server.url + url("environment_changelist"))
    picture("1-environments")
    tick_and_choose(page, "shop/production", "Deploy")

    proposal = page.locator(".dm-proposal")
    expect(proposal.get_by_text("Open the guestbook").first).to_be_visible()
    expect(proposal.locator(".dm-commit.dm-strong")).to_have_text(guestbook.head[:8])
    expect(proposal.get_by_role("checkbox", name=re.compile("one|two"))).to_have_count(2)
    expect(proposal.get_by_role("row", name="whitenoise")).to_contain_text("added")
    picture("2-confirm")

    seconds = confirm(page)
    sys.stdout.write(f"\nFrom the click to the first line: {seconds:.2f} s\n")
    page.evaluate("window.wasNotReloaded = true")
    expect(page.locator("[data-field=state]")).to_have_text("running")
    picture("3-running")
    expect(page.locator("[data-field=state]")).to_have_text("succeeded", timeout=DEPLOYED_WITHIN)
    for name in ("one", "two"):
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))
        expect(row.get_by_role("rowheader")).to_contain_text("succeeded")
        expect(page.get_by_role("log", name=f"Log of {name}")).to_contain_text("static file")
    expect(page.locator("[data-field=subject]")).to_have_text("Open the guestbook")
    assert page.evaluate("window.wasNotReloaded")
    picture("4-succeeded")

    page.context.add_cookies(
        [{"name": settings.LANGUAGE_COOKIE_NAME, "value": "fr", "url": live_server.url}]
    )
    page.reload()
    expect(page.locator("[data-field=state]")).to_have_text("réussi")
    picture("5-french")

    for placement in production.environment.placements.all():
        page.goto(f"http://{placement.bind}/")
        expect(page.get_by_role("heading", name="Guestbook")).to_be_visible()
        expect(page.get_by_text(guestbook.head[:8], exact=True)).to_be_visible()
    picture("6-site")
    assert mistakes == []
