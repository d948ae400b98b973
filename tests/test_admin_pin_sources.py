"""An environment's page tells where the pins that serve, are listed and are installed differ."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from deploy_manager.admin.inventory.pin_sources import describe_pin_sources
from deploy_manager.models import Environment, LockFile, Placement, Release
from deploy_manager.requirements.pins import lock_digest
from tests.parts.admin import url, visitor
from tests.parts.packages import make_environment, pin, place, see

PINS = ("django==5.2.8", "rich==14.0")


@pytest.fixture
def owner(db: None) -> Client:
    return visitor("owner")


@pytest.fixture
def site(db: None) -> Environment:
    """Two servers that serve and have what is listed."""
    made = make_environment("production", "one", "two")
    pin(made, *PINS)
    serve(made, "one", "two")
    return made


def serve(site: Environment, *servers: str) -> None:
    lock = "".join(f"{line}\n" for line in PINS)
    release = Release.objects.make(
        site, "a" * 40, "Begin", LockFile.objects.of(lock_digest(lock), lock)
    )
    site.placements.filter(server__name__in=servers).update(active_release=release)
    for server in servers:
        see(place(site, server), *PINS)


def lines(owner: Client, site: Environment) -> list[str]:
    page = owner.get(url("environment_change", site.pk)).content.decode()
    found = re.search(r'<ul class="dm-pin-sources">(.*?)</ul>', page, re.DOTALL)
    assert found
    items = re.findall(r"<li.*?>(.*?)</li>", found[1], re.DOTALL)
    return [unescape(re.sub(r"<.*?>", "", item)) for item in items]


def test_where_nothing_differs_it_says_so(owner: Client, site: Environment) -> None:
    assert lines(owner, site) == [
        "The pins listed here are those of the serving release. (serving release, listed pins)",
        "2 servers have the packages of their releases.",
        "The installed packages are those listed here.",
    ]


def test_a_pin_that_was_edited_differs_from_what_serves(owner: Client, site: Environment) -> None:
    site.requirements.filter(name="django").update(version="5.2.9")
    pin(site, "sqlparse==0.5.3")
    listed, installed, compared = lines(owner, site)
    assert listed.startswith(
        "2 pins listed here differ from the serving release:"
        " django 5.2.8 → 5.2.9, sqlparse \N{EN DASH} → 0.5.3"
    )
    assert installed == "2 servers have the packages of their releases."
    assert "2 packages are not installed as listed here: django (one, two)" in compared


def test_a_package_that_was_changed_by_hand_differs_from_both(
    owner: Client, site: Environment
) -> None:
    see(place(site, "two"), "django==5.2.7", "rich==14.0", "<b>==1", "pip==25")
    _same, installed, compared = lines(owner, site)
    release = "2 packages are not installed as pinned by the release: <b> (two), django (two)"
    assert release in installed
    assert "2 packages are not installed as listed here: <b> (two), django" in compared
    page = owner.get(url("environment_change", site.pk)).content.decode()
    address = url("installedpackage_changelist")
    assert f'href="{address}?environment={site.pk}&amp;only=drift"' in page
    assert "<b> (two)" not in page


def test_what_is_not_known_is_reported(owner: Client, site: Environment) -> None:
    Placement.objects.filter(server__name="two").update(inventory_problem="It is down.")
    told = lines(owner, site)
    assert told[1] == "1 server has the packages of its release."
    assert told[-1] == "The packages of 1 server are not known: two."


def test_before_the_first_deployment_there_is_nothing_to_compare(owner: Client) -> None:
    site = make_environment("production", "one")
    assert lines(owner, site)[0] == "Nothing is serving yet."
    assert owner.get(url("environment_add")).status_code == 200


def test_many_servers_take_no_more_queries(site: Environment) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            describe_pin_sources(site)
        return len(queries)

    few = count()
    for name in ("three", "four", "five"):
        make_environment(f"unused-{name}", name).placements.update(environment=site)
        serve(site, name)
    assert count() == few
