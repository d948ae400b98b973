"""Who may ask the API, how often, and how it answers who may not."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from deploy_manager import __version__
from deploy_manager.conf import Settings as OwnSettings
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import AuditEvent, Deployment, Token
from tests.inventory import Inventory
from tests.parts.admin import make_user
from tests.parts.api import Caller, caller, problem_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> User:
    return make_user("boss", superuser=True)


def test_health_needs_no_token() -> None:
    answer = Caller().get("health")
    assert answer.json() == {"status": "ok", "version": __version__}


def test_with_a_token_it_counts_what_is_under_way(boss: User, inventory: Inventory) -> None:
    inventory.request("ping")
    told = caller(boss).get("health").json()
    assert (told["queued"], told["running"], told["waiting"], told["problems"]) == (1, 0, 0, 0)


def test_with_a_wrong_one_it_does_not_answer(boss: User) -> None:
    problem_of(Caller("dm_wrong").get("health"), 401)


def test_a_database_that_is_away_is_said(boss: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("secret-host refuses")

    monkeypatch.setattr(connection, "cursor", fail)
    answer = Caller().get("health")
    assert problem_of(answer, 503)["code"] == "unavailable"
    assert b"secret-host" not in answer.content


def test_a_token_says_what_it_is(boss: User, inventory: Inventory) -> None:
    until = timezone.now() + timedelta(days=1)
    who = caller(boss, inventory.environment, scopes=["view"], expires_at=until)
    told = who.get("me").json()
    assert told["token"] == "ci"
    assert told["user"] == "boss"
    assert told["scopes"] == ["view"]
    assert told["environments"] == ["shop/production"]
    assert told["expires_at"].startswith(f"{until:%Y-%m-%d}")


def test_when_and_from_where_it_was_used_is_noted(boss: User) -> None:
    caller(boss).get("me")
    token = Token.objects.get()
    assert token.last_used_at is not None
    assert token.last_used_from == "127.0.0.1"


def test_a_revoked_one_is_refused_at_once(boss: User) -> None:
    who = caller(boss)
    assert who.get("me").status_code == 200
    Token.objects.get().revoke("boss")
    problem_of(who.get("me"), 401)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic Ym9zczp4", "bearer  x", "\xe9"])
def test_any_other_header_is_no_token(db: None, header: str) -> None:
    problem_of(Caller(Authorization=header).get("me"), 401)


def test_a_login_of_the_admin_is_no_token(boss: User) -> None:
    who = Caller()
    who._client.force_login(boss, backend="django.contrib.auth.backends.ModelBackend")
    problem_of(who.get("me"), 401)


def test_what_a_token_does_is_the_audit_s_and_the_history_s(
    boss: User, inventory: Inventory
) -> None:
    body = {"environment": "shop/production", "recipe": "ping"}
    number = caller(boss).post("deployments", body).json()["deployment"]["number"]
    deployment = Deployment.objects.get(pk=number)
    assert deployment.source == "api"
    assert deployment.requested_by == boss
    assert deployment.requested_by_name == "boss (token ci)"
    assert deployment.token == Token.objects.get()
    caller(boss).post(f"deployments/{number}/cancel")
    event = AuditEvent.objects.get(action="cancelled")
    assert (event.who, event.source, event.address) == ("boss (token ci)", "api", "127.0.0.1")


def test_a_token_that_asks_too_often_has_to_wait(boss: User, settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "API_RATE": "3/h"}
    who, other = caller(boss), caller(boss)
    assert [who.get("me").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = who.get("me")
    assert problem_of(answer, 429)["code"] == "too_many_requests"
    assert 0 < int(answer["Retry-After"]) <= 3600
    assert other.get("me").status_code == 200


def test_whoever_tries_tokens_has_to_wait_and_others_of_that_address_have_not(boss: User) -> None:
    guesser = Caller("dm_guess")
    answers = [guesser.get("me").status_code for _ in range(62)]
    assert answers[:60] == [401] * 60
    assert answers[-1] == 429
    assert caller(boss).get("me").status_code == 200


@pytest.mark.parametrize("rate", ["", "600", "0/m", "600/y", "-1/m", "6e2/m", 600, None])
def test_a_rate_that_nobody_can_read_is_refused(rate: object) -> None:
    with pytest.raises(ConfigurationError, match="API_RATE"):
        OwnSettings(API_RATE=rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", "nothing", "deployments/", "../../admin/x", "me/x"])
def test_an_unknown_address_is_a_problem_too(db: None, path: str) -> None:
    problem_of(Caller().get(path), 404)


def test_a_method_that_is_not_there_is_named(boss: User) -> None:
    answer = caller(boss).do("DELETE", "deployments")
    assert problem_of(answer, 405)["code"] == "method_not_allowed"
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}


def test_an_error_of_ours_shows_nothing_of_itself(
    boss: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_token: object) -> None:
        raise RuntimeError("the password is hunter2")

    settings.DEBUG = True
    monkeypatch.setattr("deploy_manager.api.token.token_of", fail)
    answer = caller(boss).get("me")
    assert problem_of(answer, 500)["code"] == "unexpected_error"
    assert b"hunter2" not in answer.content
    assert b"Traceback" not in answer.content


def test_no_answer_is_kept_by_anybody_on_the_way(boss: User) -> None:
    answer = caller(boss).get("me")
    assert answer["Cache-Control"] == "no-store"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_client_of_another_site_s_page_gets_no_cookie_and_no_leave(boss: User) -> None:
    answer = caller(boss).get("me")
    assert "Access-Control-Allow-Origin" not in answer
    assert not answer.cookies
