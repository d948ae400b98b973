"""The matrix of servers and packages: filters, most important first, rights and queries."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from deploy_manager.admin.packages import page as page_module
from deploy_manager.models import Environment, LockFile, Release, Server
from tests.parts.admin import ObjectRights, make_user, url, visitor
from tests.parts.packages import (
    MATRIX,
    advise,
    audit,
    cells_of,
    index,
    look,
    make_environment,
    pin,
    place,
    see,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def sites(db: None) -> tuple[Environment, Environment]:
    """Production on one and two, staging on three: Django is older there, and vulnerable."""
    production = make_environment("production", "one", "two")
    staging = make_environment("staging", "three")
    pin(production, "django==5.2.8", "asgiref==3.9", "zope==1.0")
    pin(staging, "django==5.2.8", "asgiref==3.9", "zope==1.0")
    see(place(production, "one"), "django==5.2.8", "asgiref==3.9", "zope==1.0")
    see(place(production, "two"), "django==5.2.8", "asgiref==3.9", "zope==0.9")
    see(place(staging, "three"), "django==5.2.1", "asgiref==3.9", "zope==1.0")
    audit("django==5.2.8", "asgiref==3.9", "zope==1.0", "zope==0.9")
    advise("GHSA-1", "django", "5.2.1")
    index("django==5.2.8", "asgiref==3.10", "zope==1.0")
    return production, staging


@pytest.fixture
def owner(db: None) -> Client:
    return visitor("owner")


def rows(page: str) -> list[str]:
    return re.findall(r'<tr><th scope="row">(.*?)</th>', page)


def servers(page: str) -> list[str]:
    return re.findall(r'<th scope="col" class="dm-server".*?><strong>(.*?)</strong>', page)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_its_breadcrumbs_end_with_its_own_name(owner: Client, sites: object) -> None:
    trail = (
        owner.get(url(MATRIX)).content.decode().split('class="breadcrumbs"')[1].split("</ol>")[0]
    )
    crumbs = re.findall(r'<li( aria-current="page")?>', trail)
    assert crumbs[-1] == ' aria-current="page"'
    assert crumbs.count("") == 2


def test_what_matters_stands_first(owner: Client, sites: object) -> None:
    page = look(owner)
    assert rows(page) == ["django", "zope", "asgiref"]
    assert servers(page) == ["three", "two", "one"]
    assert cells_of(page, "django")[0].kind == "vulnerable"
    assert [cell.version for cell in cells_of(page, "zope")] == ["1.0", "0.9", "1.0"]


def test_all_by_name(owner: Client, sites: object) -> None:
    page = look(owner, only="all")
    assert rows(page) == ["asgiref", "django", "zope"]
    assert servers(page) == ["one", "two", "three"]
    assert [cell.version for cell in cells_of(page, "zope")] == ["1.0", "0.9", "1.0"]


@pytest.mark.parametrize(
    ("only", "packages"),
    [
        ("drift", ["django", "zope"]),
        ("vulnerable", ["django"]),
        ("outdated", ["django", "asgiref", "zope"]),
        ("unknown", []),
    ],
)
def test_only_what_is_asked_for(
    owner: Client, sites: object, only: str, packages: list[str]
) -> None:
    page = look(owner, only=only)
    assert sorted(rows(page)) == sorted(packages)
    left_out = 3 - len(packages)
    assert ("left out" in page) == (left_out > 0)


def test_some_environments(owner: Client, sites: tuple[Environment, ...]) -> None:
    assert servers(look(owner, environment=sites[1].pk)) == ["three"]
    assert len(servers(look(owner, environment=[each.pk for each in sites]))) == 3


@pytest.mark.parametrize("text", ["ASG", "gire", "asgi_ref", "asgi.ref"])
def test_packages_are_found_by_a_part_of_their_name(
    owner: Client, sites: tuple[Environment, ...], text: str
) -> None:
    see(place(sites[0], "one"), "asgi-ref==1.0")
    assert {"asgiref", "asgi-ref"} & set(rows(look(owner, q=text)))
    assert "django" not in rows(look(owner, q=text))


def test_who_runs_less_than_a_version(owner: Client, sites: tuple[Environment, ...]) -> None:
    page = look(owner, runs="Django<5.2.8")
    assert (rows(page), servers(page)) == (["django"], ["three"])
    assert "1 of 3 servers run Django&lt;5.2.8." in page
    assert f"package=django&amp;reach=latest&amp;environment={sites[1].pk}" in page


def test_nobody_runs_it(owner: Client, sites: object) -> None:
    page = look(owner, runs="django<1")
    assert (rows(page), servers(page)) == ([], [])
    assert "0 of 3 servers run django&lt;1." in page


def test_who_can_not_be_compared_or_asked_is_reported_when_asking_who_runs(
    owner: Client, sites: tuple[Environment, ...]
) -> None:
    see(place(sites[0], "one"), "django==own-build")
    two = place(sites[0], "two")
    two.inventory_problem = "The server can't be reached."
    two.save()
    page = text_of(look(owner, runs="django<5.2.8"))
    assert "The packages of two: The server can&#x27;t be reached." in page
    assert "How the versions on one compare: they are not valid by PEP 440." in page


@pytest.mark.parametrize(
    "runs", ["django<", "<5", "django<5; python_version<'3'", "a b", "x" * 999]
)
def test_what_can_not_be_read_is_reported_and_nothing_is_lost(
    owner: Client, sites: object, runs: str
) -> None:
    page = look(owner, runs=runs, q="djan")
    assert 'class="errorlist"' in page
    assert rows(page) == ["django"]
    assert servers(page) == ["three", "one", "two"]
    assert 'value="djan"' in page


@pytest.mark.parametrize("query", [{"environment": "99"}, {"environment": "x"}, {"only": "x"}])
def test_other_bad_addresses_show_everything(
    owner: Client, sites: object, query: dict[str, str]
) -> None:
    page = look(owner, **query)
    assert 'class="errorlist"' in page
    assert len(rows(page)) == 3
    assert len(rows(look(owner, p="x"))) == len(rows(look(owner, p="99"))) == 3


def test_versions_lead_to_their_upgrade(owner: Client, sites: tuple[Environment, ...]) -> None:
    page = look(owner)
    assert f"package=django&amp;reach=fix&amp;environment={sites[1].pk}" in page
    assert f"package=asgiref&amp;reach=latest&amp;environment={sites[0].pk}" in page
    assert "package=zope&amp;reach=latest" in page


def serve(environment: Environment, *names: str) -> None:
    release = Release.objects.make(
        environment, "a" * 40, "Begin", LockFile.objects.of("a", "a==1\n")
    )
    environment.placements.filter(server__name__in=names).update(active_release=release)


def repairs(page: str) -> list[str]:
    return re.findall(r'href="[^"]*/run/([^"]*)"', page)


@pytest.mark.parametrize(
    ("serving", "pins_from", "pipeline"),
    [
        (["one", "two"], "commit", "converge"),  # somebody changed it there
        (["one"], "commit", "converge"),
        (["one"], "rows", "converge"),
        (["one", "two"], "rows", "deploy"),  # the pins were changed, and are nowhere yet
        (["two"], "commit", "deploy"),  # there is no other to be like
        ([], "commit", "deploy"),
    ],
)
def test_a_server_with_drift_may_be_repaired(
    owner: Client,
    sites: tuple[Environment, ...],
    serving: list[str],
    pins_from: str,
    pipeline: str,
) -> None:
    Environment.objects.update(pins_from=pins_from)
    serve(sites[0], *serving)
    page = look(owner, environment=sites[0].pk)
    assert repairs(page) == [f"{pipeline}/?on={sites[0].pk}&amp;server=two"]


def test_who_may_only_look_is_offered_nothing_to_press(sites: object) -> None:
    page = look(visitor("viewer"))
    for forbidden in (
        "upgrade/add",
        "/run/",
        'name="placement"',
        'name="environment" value',
    ):
        assert forbidden not in page.partition('class="dm-scroll')[2]


def test_a_right_on_one_environment_shows_only_that_one(
    sites: tuple[Environment, ...], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    monkeypatch.setattr(ObjectRights, "granted", set())
    user = make_user("narrow")
    ObjectRights.grant(user, "deploy_environment", sites[0])
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert servers(look(client)) == ["two", "one"]
    assert servers(look(client, environment=sites[1].pk)) == ["two", "one"]
    assert "staging" not in look(client, runs="django<5.2.8")


@pytest.mark.parametrize(
    ("who", "status"), [("owner", 200), ("viewer", 200), ("stranger", 403), ("nobody", 302)]
)
def test_who_may_open_it(sites: object, who: str, status: int) -> None:
    assert visitor(who).get(url(MATRIX)).status_code == status


def test_it_opens_with_nothing_to_show(owner: Client) -> None:
    assert "0 packages on 0 servers." in look(owner)


def test_many_packages_are_cut_into_pages(
    owner: Client, sites: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "MOST_CELLS", 14)
    monkeypatch.setattr(page_module, "FEWEST_ROWS", 1)
    assert rows(look(owner)) == ["django", "zope"]
    assert rows(look(owner, p=2)) == ["asgiref"]


@pytest.mark.database
def test_the_same_queries_for_few_and_for_many(owner: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            look(owner)
        return len(queries)

    def fill(name: str, count: int, packages: int) -> None:
        made = make_environment(name, *(f"{name}-{number}" for number in range(count)))
        names = [f"{name}-package-{number}==1.{number}" for number in range(packages)]
        pin(made, *names)
        index(*names)
        audit(*names)
        for placement in made.placements.all():
            see(placement, *names, "extra==1.0")

    fill("small", 2, 2)
    few = count()
    fill("large", 20, 15)
    assert count() == few
    assert few < 12


def test_hostile_texts_stay_text(owner: Client, sites: tuple[Environment, ...]) -> None:
    evil = "<script>alert(1)</script>"
    Server.objects.filter(name="one").update(name=evil)
    one = place(sites[0], evil)
    see(one, f"{evil}=={evil}")
    one.inventory_problem = evil
    one.save()
    pin(sites[0], f"{evil}=={evil[:50]}2")
    index(f"{evil}=={evil}", status=evil)
    advise(evil, evil, evil)
    page = look(owner)
    assert evil not in page
    assert cells_of(page, re.escape("&lt;script&gt;alert(1)&lt;/script&gt;"))
    assert evil not in look(owner, runs=evil, q=evil, environment=evil, only=evil)
