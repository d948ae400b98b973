"""Promoting by clicks, and a token that is shown once."""

import re

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from deploy_manager import dispatch
from deploy_manager.deployments.promoting import release_to_promote
from deploy_manager.models import Deployment, Environment, State, Token
from tests.overrides import HeldSite
from tests.parts.admin import url
from tests.returns import another, deploy_to, serving
from tests.test_browser import log_in
from tests.test_browser_approvals import look

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_page_shows_what_staging_serves_and_promotes_it(
    page: Page, live_server: LiveServer, held: HeldSite
) -> None:
    held.deploy()
    staging = another(held, "staging", "stage")
    production = Environment.objects.filter(pk=held.environment.pk)
    production.update(promotes_from=staging, required_statuses=["tests", "lint"])
    held.environment.refresh_from_db()
    commit = held.pin("helper==1.0", "shopkit==1.0.2")
    deploy_to(held, staging)
    dispatch.report_status(staging.project, commit, "lint", "failure")
    address = url("environment_run", "deploy", on=held.environment.pk)
    log_in(page, f"{live_server.url}{address}")
    release = release_to_promote(held.environment)
    told = f"Promotes what shop/staging serves, with its commit and its lock file: {release.name}."
    expect(page.get_by_text(told)).to_be_visible()
    expect(page.get_by_text("wants green checks, and commit")).to_be_visible()
    look(page, "promote-red")
    for check in ("lint", "tests"):
        dispatch.report_status(staging.project, commit, check, "success")
    page.reload()
    look(page, "promote")
    page.locator("input[name=_confirm]").click()
    page.wait_for_url(re.compile("/deployment/"))
    made = Deployment.objects.latest("pk")
    assert made.promotes == release
    assert held.see_through(made).state == State.SUCCEEDED
    assert serving(held).commit == commit


def test_a_page_that_was_shown_before_staging_changed_is_shown_again(
    page: Page, live_server: LiveServer, held: HeldSite
) -> None:
    held.deploy()
    staging = another(held, "staging", "stage")
    Environment.objects.filter(pk=held.environment.pk).update(promotes_from=staging)
    address = url("environment_run", "deploy", on=held.environment.pk)
    log_in(page, f"{live_server.url}{address}")
    held.pin("helper==1.0", "shopkit==1.0.2")
    deploy_to(held, staging)
    before = Deployment.objects.count()
    page.locator("input[name=_confirm]").click()
    expect(page.get_by_text("This has changed since it was shown")).to_be_visible()
    assert Deployment.objects.count() == before


def test_a_token_is_made_shown_once_and_revoked(
    page: Page, live_server: LiveServer, held: HeldSite
) -> None:
    log_in(page, f"{live_server.url}{url('token_add')}")
    page.get_by_label("Name").fill("GitHub Actions")
    page.get_by_label("deploy, promote, converge").check()
    look(page, "token-add")
    page.get_by_role("button", name="Save", exact=True).click()
    secret = page.locator("code.dm-copy").inner_text()
    look(page, "token-created")
    token = Token.objects.find(secret)
    assert token is not None
    page.goto(f"{live_server.url}{url('token_changelist')}")
    look(page, "token-list", fits=False)
    page.goto(f"{live_server.url}{url('token_change', token.pk)}")
    look(page, "token")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("is revoked.")).to_be_visible()
    assert Token.objects.find(secret) is None
