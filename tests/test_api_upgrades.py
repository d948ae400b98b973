"""Upgrades by the API: planned by a worker, requested as planned, watched and cancelled."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from deploy_manager.models import Resolution, Upgrade
from deploy_manager.packages.resolutions import take_up
from tests.commands import Worker
from tests.parts.admin import make_user
from tests.parts.api import Caller, caller, problem_of
from tests.upgrades import Site4

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = {"environments": ["shop/production"], "packages": ["shopkit"]}


@pytest.fixture
def boss() -> User:
    return make_user("boss", superuser=True)


@pytest.fixture
def shop(four: Site4, worker: Worker) -> Site4:
    worker.is_deaf = True
    four.index.add("shopkit", "1.1", requires=("helper",))
    return four


def plan(who: Caller, **asked: Any) -> dict[str, Any]:
    """Ask, let a worker answer, and return what it found."""
    answer = who.post("upgrades/plans", {**ASKED, **asked})
    assert answer.status_code == 202, answer.content
    number = answer.json()["plan"]
    assert who.get(f"upgrades/plans/{number}").json()["state"] == "queued"
    assert take_up(number)
    told: dict[str, Any] = who.get(f"upgrades/plans/{number}").json()
    return told


def test_it_is_requested_once_as_a_worker_planned_it(boss: User, shop: Site4) -> None:
    who = caller(boss)
    told = plan(who)
    (stage,) = told["stages"]
    (move,) = stage["moves"]
    assert (move["name"], move["before"], move["after"]) == ("shopkit", "1.0", "1.1")
    assert not Upgrade.objects.exists()
    body = {"plan": told["plan"], "shown": told["shown"]}
    first = who.post("upgrades", body, key="u")
    assert first.status_code == 201, first.content
    upgrade = first.json()["upgrade"]
    assert upgrade["requested_by"] == "boss (token ci)"
    assert who.post("upgrades", body, key="u").json() == first.json()
    row = Upgrade.objects.get()
    assert (row.source, row.token_id) == ("api", boss.deploy_manager_tokens.get().pk)
    assert who.get(f"upgrades/{upgrade['number']}").json()["live"]
    assert who.get("upgrades").json()["upgrades"][0]["number"] == upgrade["number"]
    ended = who.post(f"upgrades/{upgrade['number']}/cancel").json()
    assert ended["stages"][0]["state"] in ("cancelled", "running", "returning")
    problem_of(who.post("upgrades", {**body, "shown": "0" * 64}), 409)


def test_what_is_not_planned_yet_is_refused(boss: User, shop: Site4) -> None:
    who = caller(boss)
    number = who.post("upgrades/plans", ASKED).json()["plan"]
    problem_of(who.post("upgrades", {"plan": number}), 409)
    problem_of(who.post("upgrades", {"plan": number + 1000}), 404)


def test_a_question_of_another_user_is_not_there(boss: User, shop: Site4) -> None:
    number = caller(boss).post("upgrades/plans", ASKED).json()["plan"]
    other = caller(make_user("other", superuser=True))
    problem_of(other.get(f"upgrades/plans/{number}"), 404)
    problem_of(other.post("upgrades", {"plan": number}), 404)


def test_a_token_of_another_environment_asks_nothing(boss: User, shop: Site4) -> None:
    limited = caller(boss, scopes=["view"])
    problem_of(limited.post("upgrades/plans", ASKED), 403)
    assert not Resolution.objects.exists()


def test_words_that_are_no_package_are_refused(boss: User, shop: Site4) -> None:
    problem_of(caller(boss).post("upgrades/plans", {**ASKED, "packages": ["no thing"]}), 409)
    problem_of(caller(boss).post("upgrades/plans", {**ASKED, "packages": []}), 409)
    problem_of(caller(boss).post("upgrades/plans", {**ASKED, "environments": []}), 422)
