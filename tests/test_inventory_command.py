"""`manage.py inventory` asks servers now, and tells where they differ and who runs what."""

import pytest
from django.core.management import CommandError

from deploy_manager.models import Environment, Requirement, Server
from deploy_manager.packages.drift import drift
from tests.commands import call, call_and_be_refused, call_and_fail, events
from tests.parts.installed import Site

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def four(site: Site) -> Site:
    """Four servers that are alike, and as they are pinned."""
    for number in range(1, 5):
        site.add(f"web{number}", django="5.2.8", rich="14.0")
    pin(site.environment, django="5.2.8", rich="14.0")
    return site


def pin(environment: Environment, **versions: str) -> None:
    for name, version in versions.items():
        Requirement.objects.create(environment=environment, name=name, version=version)


def lines_of(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


@pytest.mark.database
def test_servers_that_are_alike_are_told_so(four: Site) -> None:
    assert call("inventory", "production") == (
        "shop/production: no server that answered differs from the others or the pins.\n"
    )


def test_what_was_installed_by_hand_on_one_server_shows(four: Site) -> None:
    web3 = four.machines["web3"]
    web3.remove("django")
    web3.install("django", "5.2.7")
    web3.install("requests", "2.32.5")
    titles, django, requests = lines_of(call("inventory"))
    assert titles == ["environment", "package", "pinned", "installed"]
    assert " ".join(django[1:]) == "django 5.2.8 5.2.8: web1, web2, web4; 5.2.7: web3"
    assert " ".join(requests[1:]) == "requests no 2.32.5: web3; none: web1, web2, web4"


def test_what_is_alike_everywhere_but_not_as_pinned_shows(four: Site) -> None:
    Requirement.objects.filter(name="rich").update(version="14.1")
    pin(four.environment, celery="5.5.0")
    Requirement.objects.create(
        environment=four.environment, name="colorama", version="0.4.6", marker="os_name == 'nt'"
    )
    for machine in four.machines.values():
        machine.install("pip", "25.0")
    call("inventory")
    told = {each.name: (each.pinned, list(each.versions)) for each in drift([four.environment])}
    assert told == {"rich": (("14.1",), ["14.0"]), "celery": (("5.5.0",), [""])}


@pytest.mark.database
def test_who_runs_a_version_is_reported(four: Site) -> None:
    web3 = four.machines["web3"]
    web3.remove("django")
    web3.install("django", "5.2.7")
    _titles, found = lines_of(call("inventory", "--runs", "django<5.2.8"))
    assert found == ["shop/production", "web3", "5.2.7"]
    assert call("inventory", "--runs", "django<5") == "No server is known to run django<5.\n"


def test_a_server_that_cannot_be_asked_is_reported_and_ends_it_by_1(four: Site) -> None:
    Server.objects.filter(name="web2").update(user="nobody")
    code, printed = call_and_fail("inventory", "production", "--runs", "django")
    assert code == 1
    assert "web2: web2 (127.0.0.1:" in printed
    assert "refuses to log nobody in" in printed
    assert "Unknown, since not asked or not answered: shop/production on web2." in printed
    assert [line[1] for line in lines_of(printed) if line[2:] == ["5.2.8"]] == [
        "web1",
        "web3",
        "web4",
    ]


def test_only_the_named_servers_are_asked(four: Site) -> None:
    call("inventory", "--server", "web1", "--server", "web4")
    asked = four.environment.placements.exclude(inventory_at=None)
    assert set(asked.values_list("server__name", flat=True)) == {"web1", "web4"}


def test_programs_get_it_all(four: Site) -> None:
    four.machines["web2"].remove("rich")
    told = events(call("inventory", "--json"))
    assert [each["event"] for each in told] == [*["inventory"] * 4, "drift", "summary"]
    assert told[0]["packages"] == {"django": "5.2.8", "rich": "14.0"}
    assert (told[0]["server"], told[0]["problem"]) == ("web1", "")
    assert told[4]["versions"] == {"14.0": ["web1", "web3", "web4"], "": ["web2"]}
    assert told[5] == {"event": "summary", "asked": 4, "answered": 4}
    told = events(call("inventory", "--json", "--runs", "rich"))
    assert [each["server"] for each in told if each["event"] == "runs"] == ["web1", "web3", "web4"]


def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(four: Site) -> None:
    assert "like django<5.2.8" in call_and_be_refused("inventory", "--runs", "django<five")
    refusal = call_and_be_refused("inventory", "--server", "web9")
    assert refusal == "No such server: web9. Servers: web1, web2, web3, web4."
    assert "no environment" in call_and_be_refused("inventory", "nowhere")
    assert not four.environment.placements.exclude(inventory_tried_at=None).exists()


def test_without_servers_there_is_nothing_to_ask(site: Site) -> None:
    with pytest.raises(CommandError, match="no servers to ask"):
        call("inventory")
