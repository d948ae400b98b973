"""`manage.py audit`: 0 where nothing is known, 1 where something is, 2 where nobody could tell."""

import pytest
from pytest_django import Settings

from deploy_manager.models import Environment, Requirement
from tests.commands import call, call_and_be_refused, call_and_fail, events
from tests.parts.installed import Site
from tests.parts.osv import OsvStub

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(site: Site, osv: OsvStub, settings: Settings) -> Site:
    """Two servers whose packages are known, and advisories on loopback."""
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "ADVISORIES": [osv.url]}
    for name in ("web1", "web2"):
        site.add(name, django="5.2.7", rich="14.0")
    Requirement.objects.create(environment=site.environment, name="django", version="5.2.7")
    call("inventory")
    return site


def test_where_nothing_is_known_it_ends_well(shop: Site) -> None:
    assert call("audit", "production") == "2 versions checked: no advisory is about any.\n"


@pytest.mark.database
def test_an_advisory_is_reported_with_servers_and_pins(shop: Site, osv: OsvStub) -> None:
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8")
    osv.add("PYSEC-2026-2", "rich", versions=("14.0",))
    code, printed = call_and_fail("audit")
    assert code == 1
    _titles, django, rich = (" ".join(line.split()) for line in printed.splitlines())
    assert django == "shop/production django 5.2.7 web1, web2, pinned PYSEC-2026-1 5.2.8"
    assert rich == "shop/production rich 14.0 web1, web2 PYSEC-2026-2 no version yet"


def test_a_check_that_fails_is_reported_as_unknown(shop: Site, osv: OsvStub) -> None:
    osv.down = True
    code, printed = call_and_fail("audit")
    assert code == 2
    assert (
        f"unknown: shop/production, django 5.2.7, rich 14.0: {osv.url} did not answer: 503"
        in printed
    )
    assert "0 of 2 versions could be checked." in printed
    assert "no advisory" not in printed


def test_what_is_vulnerable_weighs_more_than_what_is_unknown(shop: Site, osv: OsvStub) -> None:
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8")
    osv.garbage["rich"] = {"error": "busy"}
    code, printed = call_and_fail("audit", "--json")
    assert code == 1
    vulnerable, unknown, summary = events(printed)
    assert (vulnerable["package"], vulnerable["servers"]) == ("django", ["web1", "web2"])
    assert (vulnerable["fixed_in"], vulnerable["pinned"]) == ("5.2.8", True)
    assert vulnerable["advisories"][0]["identifier"] == "PYSEC-2026-1"
    assert (unknown["event"], unknown["package"]) == ("unknown", "rich")
    assert summary == {"event": "summary", "checked": 2, "vulnerable": 1, "unknown": 1}


def test_a_server_that_was_never_asked_is_unknown(shop: Site) -> None:
    shop.add("web3", django="5.2.7")
    code, printed = call_and_fail("audit")
    assert code == 2
    assert "packages of web3: It has never been asked: run manage.py inventory." in printed


def test_another_environment_is_not_told_of(shop: Site, osv: OsvStub) -> None:
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8")
    project = shop.environment.project
    Environment.objects.create(project=project, name="staging", deploy_path="/srv/staging")
    assert call("audit", "staging") == "0 versions checked: no advisory is about any.\n"
    assert "no environment" in call_and_be_refused("audit", "nowhere")
