"""The button that has servers asked once more: who may press it, and that it tells the truth."""

from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.models import Environment, Placement
from tests.parts.admin import url, visitor
from tests.parts.packages import MATRIX, look, make_environment, place, see

pytestmark = pytest.mark.django_db

LOOK_AGAIN = "installedpackage_look_again"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The servers that a worker was told of, by a broker that always answers."""
    found: list[int] = []

    def tell(*placements: int) -> bool:
        found.extend(placements)
        return True

    monkeypatch.setattr(dispatch, "GATHERERS", replace(dispatch.GATHERERS, take_inventory=tell))
    return found


@pytest.fixture
def production(db: None) -> Environment:
    made = make_environment("production", "one", "two")
    for placement in made.placements.all():
        see(placement, "django==5.2.8")
    Placement.objects.update(inventory_tried_at=timezone.now())
    return made


def press(client: Client, **data: object) -> tuple[int, str, str]:
    """The status, where it leads and what the user is told."""
    answer = client.post(url(LOOK_AGAIN), data)
    said = " ".join(map(str, get_messages(answer.wsgi_request)))
    return answer.status_code, answer["Location"], said


def test_one_server_is_asked(told: list[int], production: Environment) -> None:
    one = place(production, "one")
    assert press(visitor("owner"), placement=one.pk, next=url(MATRIX, q="django")) == (
        302,
        url(MATRIX, q="django"),
        "1 server is being asked: reload the page in a moment.",
    )
    assert told == [one.pk]


def test_all_servers_of_an_environment_are_asked(told: list[int], production: Environment) -> None:
    _status, _address, said = press(visitor("owner"), environment=production.pk)
    assert said == "2 servers are being asked: reload the page in a moment."
    assert sorted(told) == sorted(production.placements.values_list("pk", flat=True))


def test_it_says_so_where_no_worker_could_be_told(
    production: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = replace(dispatch.GATHERERS, take_inventory=lambda *placements: False)
    monkeypatch.setattr(dispatch, "GATHERERS", silent)
    owner = visitor("owner")
    _status, _address, said = press(owner, environment=production.pk)
    assert said == "2 servers will be asked as soon as a worker can be reached."
    assert look(owner).count(">will be asked<") == 2


def test_the_page_shows_that_no_answer_is_there_yet(
    told: list[int], production: Environment
) -> None:
    owner = visitor("owner")
    Placement.objects.update(inventory_at=timezone.now())
    assert "no answer yet" not in look(owner)
    press(owner, environment=production.pk)
    assert look(owner).count("no answer yet") == 2


@pytest.mark.parametrize(
    ("who", "status", "count"),
    [("deployer", 302, 1), ("viewer", 403, 0), ("stranger", 403, 0), ("nobody", 302, 0)],
)
def test_only_who_may_deploy_asks(
    told: list[int], production: Environment, who: str, status: int, count: int
) -> None:
    answer = visitor(who).post(url(LOOK_AGAIN), {"placement": place(production, "one").pk})
    assert (answer.status_code, len(told)) == (status, count)


@pytest.mark.parametrize(
    "data", [{}, {"placement": "99"}, {"placement": "x"}, {"environment": "9" * 99}]
)
def test_what_is_not_there_is_refused(
    told: list[int], production: Environment, data: dict[str, str]
) -> None:
    assert visitor("owner").post(url(LOOK_AGAIN), data).status_code == 403
    assert told == []


def test_it_needs_a_post_and_a_token_and_leads_nowhere_else(
    told: list[int], production: Environment
) -> None:
    owner = visitor("owner")
    assert owner.get(url(LOOK_AGAIN)).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    assert strict.post(url(LOOK_AGAIN), {"environment": production.pk}).status_code == 403
    _status, address, _said = press(owner, environment=production.pk, next="https://evil.example/")
    assert address == url(MATRIX)
