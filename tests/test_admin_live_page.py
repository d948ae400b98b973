"""The deployment's page in a browser: what moves without a reload."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db.models import F
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager.models import Deployment, State, Step
from tests.inventory import Inventory
from tests.parts.admin import make_user, url, write_deployment, write_output

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

Open = Callable[[Deployment], Page]


@pytest.fixture
def deployment(transactional_db: None, inventory: Inventory) -> Deployment:
    inventory.add_server("two")
    return write_deployment(inventory.environment, titles=("Fetch", "Build"))


@pytest.fixture
def open_page(page: Page, live_server: LiveServer) -> Open:
    """Log in and open a deployment's page."""
    client = Client()
    client.force_login(make_user("ana", superuser=True))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}]
    )

    def open_it(deployment: Deployment) -> Page:
        page.goto(live_server.url + url("deployment_change", deployment.pk))
        return page

    return open_it


def step_on(server: str, number: int = 1) -> Step:
    return Step.objects.get(host_run__server_name=server, number=number)


def tell(deployment: Deployment, **values: Any) -> None:
    """Change a deployment as its writer does; its new position is known afterwards."""
    Deployment.objects.filter(pk=deployment.pk).update(sequence=F("sequence") + 1, **values)
    deployment.refresh_from_db()


def end(deployment: Deployment) -> None:
    assert deployment.shards.get().finish(State.SUCCEEDED)


def test_lines_arrive_and_the_end_is_reported_without_a_reload(
    deployment: Deployment, open_page: Open
) -> None:
    page = open_page(deployment)
    write_output(step_on("two"), b"\x1b[32mhello\x1b[0m from two\n")
    expect(page.get_by_role("log", name="Log of two")).to_contain_text("hello from two")
    expect(page.locator(".dm-log .ansi32")).to_have_text("hello")
    end(deployment)
    expect(page.locator("[data-field=state]")).to_have_text("succeeded")
    expect(page.get_by_role("status").last).to_have_text("The deployment ended: succeeded")
    expect(page.get_by_role("button", name="Cancel this deployment")).to_be_hidden()


def test_a_reader_who_scrolls_up_is_left_in_peace(deployment: Deployment, open_page: Open) -> None:
    write_output(step_on("one"), b"line\n" * 200)
    page = open_page(deployment)
    log = page.get_by_role("log", name="Log of one")
    follow = page.get_by_role("button", name="Follow").first
    log.evaluate("log => { log.scrollTop = 40 }")
    expect(follow).to_be_visible()
    write_output(step_on("one"), b"the last line\n")
    expect(log).to_contain_text("the last line")
    assert log.evaluate("log => log.scrollTop") == 40
    follow.click()
    expect(follow).to_be_hidden()
    assert log.evaluate("log => log.scrollHeight - log.clientHeight - log.scrollTop") < 2


def test_a_cell_shows_one_step_of_one_server(deployment: Deployment, open_page: Open) -> None:
    write_output(step_on("one", 1), b"fetched\n")
    write_output(step_on("one", 2), b"built\n")
    page = open_page(deployment)
    page.locator(f'.dm-cell[data-step="{step_on("one", 2).pk}"]').click()
    expect(page.get_by_role("heading", name="one: 2. Build")).to_be_visible()
    expect(page.get_by_text("built")).to_be_visible()
    expect(page.get_by_text("fetched")).to_be_hidden()
    expect(page.get_by_role("log")).to_have_count(1)
    page.get_by_role("button", name="Show all servers").click()
    expect(page.get_by_text("fetched")).to_be_visible()


def test_a_lost_connection_is_reported_and_made_good(
    deployment: Deployment, open_page: Open
) -> None:
    page = open_page(deployment)
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("can't be reached")
    write_output(step_on("one"), b"meanwhile\n")
    page.context.set_offline(False)
    expect(page.get_by_text("meanwhile")).to_be_visible(timeout=15_000)
    expect(page.locator("[data-trouble]")).to_be_hidden()


def test_output_that_arrives_cannot_become_part_of_the_page(
    deployment: Deployment, open_page: Open
) -> None:
    page = open_page(deployment)
    write_output(step_on("one"), b"<img src=x onerror=\"document.title='taken'\">done\n")
    expect(page.get_by_role("log", name="Log of one")).to_contain_text("done")
    assert page.locator(".dm-log img").count() == 0
    assert page.title() != "taken"


def test_a_pause_a_rollback_and_the_retry_appear_by_themselves(
    deployment: Deployment, open_page: Open
) -> None:
    Step.objects.filter(number=2).update(phase="roll_back", title="Go back", started_at=None)
    page = open_page(deployment)
    expect(page.get_by_role("columnheader", name="Go back")).to_be_hidden()
    tell(deployment, opens_at=timezone.now() + timedelta(seconds=50))
    expect(page.locator("[data-pause]")).to_contain_text("the next wave begins at")
    expect(page.locator("[data-countdown]")).to_have_text(re.compile(r"^4\d s$"))
    begun = {"started_at": timezone.now(), "sequence": deployment.sequence + 1}
    Step.objects.filter(number=2).update(**begun)
    tell(deployment, opens_at=None)
    expect(page.get_by_role("columnheader", name="Go back")).to_be_visible()
    expect(page.locator("[data-pause]")).to_be_hidden()
    assert deployment.shards.get().finish(State.ROLLED_BACK)
    expect(page.locator("[data-field=state]")).to_have_text("rolled back")
    page.get_by_role("button", name="Retry on 2 servers").click()
    expect(page.locator("[data-field=state]")).to_have_text("queued")
    expect(page.get_by_role("link", name=f"#{deployment.pk} ping")).to_be_visible()
