"""The matrix of servers and packages, and an advisory's page, in a browser."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager.models import Advisory, Environment
from tests.parts.admin import url
from tests.parts.packages import (
    MATRIX,
    advise,
    audit,
    index,
    make_environment,
    pin,
    place,
    see,
)
from tests.test_browser import log_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PINS = [f"package-{number:02d}=={number}.4" for number in range(30)]
THEMES, WIDTHS = ("light", "dark"), (1280, 400)


@pytest.fixture
def fleet(transactional_db: None) -> list[Environment]:
    """Twelve servers in three environments, with everything that may be the matter."""
    sites = [
        make_environment("production", *(f"web-{number}.example.org" for number in range(1, 7))),
        make_environment("staging", "stage-1", "stage-2"),
        make_environment("production", "docs-1", "docs-2", "docs-3", "docs-4", project="docs"),
    ]
    for site in sites:
        pin(site, "django==5.2.8", "celery==5.5.3", "sqlparse==0.5.3", *PINS)
        for placement in site.placements.all():
            see(placement, "django==5.2.8", "celery==5.5.3", "sqlparse==0.5.3", "pip==25.2", *PINS)
    audit("django==5.2.8", "celery==5.5.3", "pip==25.2", *PINS)
    audit("sqlparse==0.5.3", problem="The database of advisories did not answer.")
    index("django==5.2.9", "celery==5.5.3", "sqlparse==0.5.3", *PINS)
    index("pip==25.3", days_old=400, status="archived")
    spoil(sites)
    return sites


def spoil(sites: list[Environment]) -> None:
    """Let some servers have other packages than the rest."""
    for server in ("stage-1", "stage-2"):
        see(place(sites[1], server), "django==5.2.1", "celery==5.5.3", "sqlparse==0.5.3", *PINS)
    see(place(sites[0], "web-2.example.org"), "django==5.2.1", "ipdb==0.13", "celery==5.5.3", *PINS)
    silent = place(sites[2], "docs-2")
    silent.inventory_problem = "The server docs-2 can't be reached: connection refused."
    silent.save()
    unseen = place(sites[2], "docs-4")
    unseen.installed.all().delete()
    unseen.inventory_at = unseen.inventory_tried_at = None
    unseen.save()
    advise("GHSA-frmv-pr5f-9mcr", "django", "5.2.1", fixed_in=("4.2.26", "5.1.14", "5.2.8"))
    advise("GHSA-0000", "celery", "4.0.0", fixed_in=("4.0.1",))


@pytest.fixture
def pictures(page: Page) -> Callable[[str], None]:
    """Keep pictures in all themes and widths, where SCREENSHOTS names a folder for them."""

    def take(name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            for theme in THEMES:
                for width in WIDTHS:
                    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                    page.set_viewport_size({"width": width, "height": 900})
                    page.screenshot(
                        path=Path(folder) / f"{name}-{theme}-{width}.png", full_page=True
                    )
            page.emulate_media(color_scheme="light")
            page.set_viewport_size({"width": 1280, "height": 900})

    return take


def test_from_the_question_who_runs_it_to_the_upgrade(
    page: Page, live_server: LiveServer, fleet: list[Environment], pictures: Callable[[str], None]
) -> None:
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    log_in(page, live_server.url + url(MATRIX))
    expect(page.locator(".dm-packages").get_by_role("rowheader").first).to_have_text("django")
    pictures("matrix")

    page.get_by_label("Servers that run").fill("django<5.2.8")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".dm-sum")).to_contain_text("3 of 12 servers run django<5.2.8.")
    expect(page.locator(".dm-server strong")).to_have_text(
        ["web-2.example.org", "stage-1", "stage-2"]
    )
    pictures("matrix-who-runs")
    page.get_by_role("link", name="Upgrade django there…").click()
    expect(page.get_by_label("Packages:")).to_have_value("django")
    assert mistakes == []


def test_heads_and_names_stay_in_sight(
    page: Page, live_server: LiveServer, fleet: list[Environment]
) -> None:
    log_in(page, live_server.url + url(MATRIX))
    box = page.get_by_role("region", name="Packages on servers")
    box.evaluate("box => box.scrollTo(box.scrollWidth, box.scrollHeight)")
    frame = box.bounding_box()
    name = page.get_by_role("rowheader", name="package-29").bounding_box()
    head = page.locator(".dm-server").last.bounding_box()
    assert frame
    assert name
    assert head
    assert abs(name["x"] - frame["x"]) < 3
    assert 0 <= head["y"] - frame["y"] < 60


def test_the_matrix_is_used_by_keyboard(
    page: Page, live_server: LiveServer, fleet: list[Environment]
) -> None:
    log_in(page, live_server.url + url(MATRIX))
    page.get_by_label("Package", exact=True).focus()
    page.keyboard.type("celery")
    page.keyboard.press("Enter")
    expect(page.locator(".dm-packages").get_by_role("rowheader")).to_have_text(["celery"])
    page.get_by_role("region", name="Packages on servers").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="docs/production")).to_be_focused()
    again = page.get_by_role("button", name="web-2.example.org")
    again.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_contain_text("1 server")
    expect(page.locator(".dm-packages").get_by_role("rowheader")).to_have_text(["celery"])


def test_from_an_advisory_to_the_upgrade(
    page: Page, live_server: LiveServer, fleet: list[Environment], pictures: Callable[[str], None]
) -> None:
    log_in(page, live_server.url + url("advisory_changelist"))
    expect(page.get_by_text("1 version could not be checked: sqlparse==0.5.3.")).to_be_visible()
    pictures("advisories")
    page.get_by_role("link", name=Advisory.objects.get(package="django").identifier).click()
    row = page.get_by_role("row").filter(has_text="shop/staging")
    expect(row).to_contain_text("stage-1, stage-2")
    pictures("advisory")
    page.get_by_role("link", name="Upgrade django to 5.2.8…").click()
    expect(page.get_by_label("Packages:")).to_have_value("django")
