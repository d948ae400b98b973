"""Advisories in the admin: who is exposed, what is not known, and the one button to the upgrade."""

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from deploy_manager.models import Advisory, Environment
from tests.parts.admin import ObjectRights, make_user, url, visitor
from tests.parts.packages import advise, audit, make_environment, pin, place, see

pytestmark = pytest.mark.django_db


@pytest.fixture
def production(db: None) -> Environment:
    return make_environment("production", "one", "two")


@pytest.fixture
def advisory(production: Environment) -> Advisory:
    """Against Django 5.2.1, which both servers of production have."""
    pin(production, "django==5.2.1")
    for name in ("one", "two"):
        see(place(production, name), "django==5.2.1")
    return advise("GHSA-1", "django", "5.2.1", fixed_in=("4.2.26", "5.2.8"))


def text_of(client: Client, name: str, *args: object, **query: object) -> str:
    answer = client.get(url(name, *args, **query))
    assert answer.status_code == 200
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode())))


def button_of(client: Client, advisory: Advisory) -> dict[str, list[str]]:
    """What the address behind the button of an advisory's page asks for; empty without one."""
    page = client.get(url("advisory_change", advisory.pk)).content.decode()
    found = re.findall(r'class="button dm-go" href="([^"]*)"', page)
    assert len(found) <= 1
    return parse_qs(urlsplit(unescape(found[0])).query) if found else {}


def narrow(settings: Settings, monkeypatch: pytest.MonkeyPatch, *seen: Environment) -> Client:
    """A visitor who may only look at some environments."""
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    monkeypatch.setattr(ObjectRights, "granted", set())
    user = make_user("narrow")
    for environment in seen:
        ObjectRights.grant(user, "view_environment", environment)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_the_list_counts_who_is_exposed(advisory: Advisory) -> None:
    text = text_of(visitor("owner"), "advisory_changelist")
    assert "GHSA-1 django Something is wrong with django. 4.2.26, 5.2.8 1 2" in text


def test_the_list_leaves_out_what_nobody_is_exposed_to(advisory: Advisory) -> None:
    advise("GHSA-2", "celery", "5.0.0")
    owner = visitor("owner")
    exposed = text_of(owner, "advisory_changelist", exposed="yes")
    assert "GHSA-1" in exposed
    assert "GHSA-2" not in exposed
    others = text_of(owner, "advisory_changelist", exposed="no")
    assert "GHSA-2" in others
    assert "GHSA-1" not in others


@pytest.mark.database
def test_it_is_found_by_its_other_names(advisory: Advisory) -> None:
    owner = visitor("owner")
    assert "GHSA-1 django" in text_of(owner, "advisory_changelist", q="CVE-2026-0001")
    assert "GHSA-1 django" not in text_of(owner, "advisory_changelist", q="CVE-2026-0002")


@pytest.mark.database
def test_the_list_takes_the_same_queries_for_many(advisory: Advisory) -> None:
    owner = visitor("owner")

    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            text_of(owner, "advisory_changelist")
        return len(queries)

    few = count()
    for number in range(2, 6):
        more = make_environment(f"site-{number}", "one", "two", f"web-{number}")
        for placement in more.placements.all():
            see(placement, "django==5.2.1", f"a==1.{number}")
        advise(f"GHSA-{number}", "a", f"1.{number}")
    assert count() == few


@pytest.mark.parametrize("page", ["list", "detail"])
def test_what_could_not_be_checked_is_reported_and_never_safe(
    advisory: Advisory, page: str
) -> None:
    production = Environment.objects.get()
    see(place(production, "one"), "django==5.2.1", "a==1.0", "b==2.0", "c==3.0")
    audit("a==1.0", problem="The database did not answer.")
    audit("c==3.0")
    name, args = ("advisory_changelist", ()) if page == "list" else ("advisory_change", (1,))
    text = text_of(visitor("owner"), name, *(args and (advisory.pk,)))
    assert "1 version could not be checked: a==1.0. The database did not answer." in text
    assert "1 version could not be checked: b==2.0. It has not been checked yet." in text
    assert "c==3.0" not in text


def test_servers_that_do_not_answer_are_reported(advisory: Advisory) -> None:
    two = place(Environment.objects.get(), "two")
    two.inventory_problem = "The server can't be reached."
    two.save()
    text = text_of(visitor("owner"), "advisory_changelist")
    assert "The packages of 1 server are not known: two." in text


def test_nothing_is_reported_where_everything_is_known(advisory: Advisory) -> None:
    assert "Not known to be safe" not in text_of(visitor("owner"), "advisory_changelist")


def test_the_page_shows_versions_servers_and_the_fix(advisory: Advisory) -> None:
    text = text_of(visitor("owner"), "advisory_change", advisory.pk)
    assert "shop/production ⚠ 5.2.1 pinned 5.2.8 one, two" in text
    assert "CVE-2026-0001" in text
    assert "Upgrade django to 5.2.8…" in text


def test_one_button_leads_to_the_upgrade_of_all_that_are_exposed(advisory: Advisory) -> None:
    production = Environment.objects.get()
    staging = make_environment("staging", "three")
    see(place(staging, "three"), "django==5.2.1")
    make_environment("elsewhere", "four")
    assert button_of(visitor("owner"), advisory) == {
        "package": ["django"],
        "reach": ["fix"],
        "version": ["5.2.8"],
        "environment": [str(production.pk), str(staging.pk)],
        "advisory": [str(advisory.pk)],
    }


def test_the_fix_is_left_open_where_environments_need_different_ones(advisory: Advisory) -> None:
    old = make_environment("old", "three")
    see(place(old, "three"), "django==4.2.20")
    Advisory.objects.get().versions.create(name="django", version="4.2.20")
    assert "version" not in button_of(visitor("owner"), advisory)
    assert "Upgrade django…" in text_of(visitor("deployer"), "advisory_change", advisory.pk)


def test_no_button_without_a_fix_and_for_who_may_not_deploy(advisory: Advisory) -> None:
    assert button_of(visitor("viewer"), advisory) == {}
    Advisory.objects.update(fixed_in=[])
    owner = visitor("owner")
    assert button_of(owner, advisory) == {}
    assert "No version fixes it yet." in text_of(owner, "advisory_change", advisory.pk)


def test_only_environments_that_one_may_see_are_shown(
    advisory: Advisory, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = make_environment("staging", "three")
    see(place(staging, "three"), "django==5.2.1", "secret==1.0")
    production = Environment.objects.get(name="production")
    client = narrow(settings, monkeypatch, production)
    text = text_of(client, "advisory_change", advisory.pk)
    assert "shop/production" in text
    assert "staging" not in text
    assert "three" not in text
    listed = text_of(client, "advisory_changelist")
    assert "5.2.8 1 2" in listed
    assert "secret" not in listed


@pytest.mark.parametrize(
    ("who", "status"), [("owner", 200), ("viewer", 200), ("stranger", 403), ("nobody", 302)]
)
def test_who_may_look(advisory: Advisory, who: str, status: int) -> None:
    client = visitor(who)
    assert client.get(url("advisory_changelist")).status_code == status
    assert client.get(url("advisory_change", advisory.pk)).status_code == status


def test_nobody_writes_or_deletes_one(advisory: Advisory) -> None:
    owner = visitor("owner")
    assert owner.get(url("advisory_add")).status_code == 403
    assert owner.post(url("advisory_delete", advisory.pk)).status_code == 403
    assert owner.get(url("advisory_change", 99)).status_code == 404


def test_hostile_advisories_stay_text(advisory: Advisory) -> None:
    evil = "<script>alert(1)</script>"
    Advisory.objects.update(
        summary=evil, identifier=evil, aliases=[evil], fixed_in=[evil], url="javascript:alert(1)"
    )
    owner = visitor("owner")
    for address in (url("advisory_changelist"), url("advisory_change", advisory.pk)):
        page = owner.get(address).content.decode()
        assert evil not in page
        assert 'href="javascript:' not in page
