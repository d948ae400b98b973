"""Tokens of the API: made for oneself, shown once, good within their limits, revoked at once."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from deploy_manager.deployments.request import request
from deploy_manager.models import AuditEvent, Deployment, Environment, Server, Token
from deploy_manager.models.rights import Right, limit, may
from deploy_manager.visibility import visible
from tests.inventory import Inventory
from tests.owners import person
from tests.parts.admin import url

pytestmark = pytest.mark.django_db

EVERYTHING = tuple(right.codename for right in Right)


@pytest.fixture
def ann() -> User:
    return person("ann", *EVERYTHING, "add_token")


@pytest.fixture
def staging(inventory: Inventory) -> Environment:
    made: Environment = Environment.objects.create(
        project=inventory.environment.project, name="staging", deploy_path="/srv/staging"
    )
    return made


def by_token(user: User, *environments: Environment, scopes: list[str]) -> User:
    """The user as a request with such a token has them."""
    token, _secret = Token.objects.issue(user, environments, name="ci", scopes=scopes)
    fresh = User.objects.get(pk=user.pk)
    limit(fresh, token.limits())
    return fresh


def visit(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_it_is_found_by_its_secret_and_nothing_else(ann: User) -> None:
    token, secret = Token.objects.issue(ann, name="ci", scopes=["view"])
    assert Token.objects.find(secret) == token
    for wrong in ("", secret[:-1], secret + "x", token.digest, token.hint, "x" * 1_000_000):
        assert Token.objects.find(wrong) is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM deploy_manager_token")
        assert secret not in str(cursor.fetchall())


def test_it_is_good_until_it_expires_is_revoked_or_its_user_leaves(ann: User) -> None:
    soon = timezone.now() + timedelta(days=1)
    token, secret = Token.objects.issue(ann, name="ci", scopes=["view"], expires_at=soon)
    assert Token.objects.find(secret)
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert Token.objects.find(secret) is None
    Token.objects.update(expires_at=None)
    User.objects.update(is_active=False)
    assert Token.objects.find(secret) is None
    User.objects.update(is_active=True)
    assert Token.objects.find(secret)
    assert token.revoke("ben")
    assert not token.revoke("eve")
    assert Token.objects.find(secret) is None
    assert Token.objects.get().revoked_by_name == "ben"


def test_it_allows_what_its_scopes_say_where_it_is_good_and_no_more(
    ann: User, inventory: Inventory, staging: Environment
) -> None:
    production = inventory.environment
    user = by_token(ann, staging, scopes=["deploy"])
    assert may(user, Right.DEPLOY, staging)
    assert may(user, Right.VIEW, staging)
    assert not may(user, Right.ROLL_BACK, staging)
    assert not may(user, Right.DEPLOY, production)
    assert not may(user, Right.DEPLOY, None)
    assert not may(user, Right.CHANGE, staging)
    with pytest.raises(PermissionDenied):
        request(production, "ping", source="api", requested_by_name="ci", user=user)
    assert may(by_token(ann, scopes=["roll_back"]), Right.ROLL_BACK, None)


def test_it_gives_no_right_that_its_user_lacks(inventory: Inventory) -> None:
    user = by_token(person("dan", "view_environment"), scopes=["view", "deploy"])
    assert may(user, Right.VIEW, inventory.environment)
    assert not may(user, Right.DEPLOY, inventory.environment)


def test_with_it_only_rows_of_its_environments_are_seen(
    ann: User, inventory: Inventory, staging: Environment
) -> None:
    asked = RequestFactory().get("/")
    asked.user = by_token(ann, staging, scopes=["view"])
    assert list(visible(asked, Environment.objects.all())) == [staging]
    assert not visible(asked, Server.objects.all()).exists()
    assert not visible(asked, Deployment.objects.all()).exists()


def test_one_whose_environments_were_deleted_is_good_for_none(
    ann: User, staging: Environment
) -> None:
    user = by_token(ann, staging, scopes=["view"])
    staging.delete()
    limit(user, Token.objects.get().limits())
    assert not may(user, Right.VIEW, Environment.objects.get())


def test_its_last_use_is_noted_at_most_once_a_minute(ann: User) -> None:
    token, _secret = Token.objects.issue(ann, name="ci", scopes=["view"])
    token.note_use("192.0.2.1")
    first = Token.objects.get().last_used_at
    token.note_use("192.0.2.1")
    assert Token.objects.get().last_used_at == first
    token.note_use("192.0.2.2")
    assert Token.objects.get().last_used_from == "192.0.2.2"


def sent(**changes: Any) -> dict[str, Any]:
    later = timezone.localtime(timezone.now() + timedelta(days=30))
    form = {
        "name": "GitHub",
        "scopes": ["deploy", "report"],
        "expires_at": f"{later:%Y-%m-%dT%H:%M}",
    }
    return form | changes


def test_the_page_shows_the_secret_once_and_keeps_it_in_no_cookie(
    ann: User, staging: Environment
) -> None:
    client = visit(ann)
    answer = client.post(url("token_add"), sent(environments=[staging.pk]))
    text = answer.content.decode()
    secret = text.split("dm_")[1].split("<")[0]
    token = Token.objects.get()
    assert Token.objects.find(f"dm_{secret}") == token
    assert (token.user, token.is_limited, list(token.environments.all())) == (ann, True, [staging])
    assert "no-store" in answer["Cache-Control"]
    assert secret not in str(client.cookies)
    later = client.get(url("token_change", token.pk)).content.decode()
    assert token.hint in later
    assert secret not in later
    assert secret not in str(list(AuditEvent.objects.values()))


def test_the_page_refuses_nonsense_and_writes_nothing(ann: User) -> None:
    client = visit(ann)
    refused: list[dict[str, Any]] = [
        {"scopes": []},
        {"scopes": ["rule"]},
        {"name": ""},
        {"expires_at": "2001-01-01T00:00"},
        {"expires_at": "9999-12-31T23:59"},
        {"environments": [4711]},
    ]
    for wrong in refused:
        assert client.post(url("token_add"), sent(**wrong)).status_code == 200
    assert not Token.objects.exists()


def test_people_see_and_revoke_their_own_and_keepers_all(ann: User) -> None:
    ben = person("ben", "add_token")
    token, _secret = Token.objects.issue(ben, name="of ben", scopes=["view"])
    page = visit(ann).get(url("token_changelist")).content.decode()
    assert "of ben" not in page
    assert visit(ann).post(url("token_revoke", token.pk)).status_code == 404
    assert visit(person("eve")).get(url("token_changelist")).status_code == 403
    keeper = visit(person("kay", "change_token"))
    assert "of ben" in keeper.get(url("token_changelist")).content.decode()
    assert keeper.post(url("token_revoke", token.pk)).status_code == 302
    assert Token.objects.get().revoked_by_name == "kay"
    assert AuditEvent.objects.filter(kind="token", after__revoked="kay").exists()


def run(*words: str) -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command("tokens", *words, "--json", stdout=out, stderr=io.StringIO())
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_command_issues_lists_and_revokes(ann: User, staging: Environment) -> None:
    made = run("--issue", "ci", "--user", "ann", "--scope", "deploy", "--environment", "staging")
    told = next(line for line in made if line["event"] == "token")
    token = Token.objects.find(told["secret"])
    assert token is not None
    assert (token.user, token.scopes) == (ann, ["deploy"])
    listed = run()
    assert listed[0]["environments"] == ["shop/staging"]
    assert told["secret"] not in str(listed)
    out = io.StringIO()
    call_command("tokens", stdout=out)
    assert told["begins_with"] in out.getvalue()
    run("--revoke", told["begins_with"])
    assert Token.objects.find(told["secret"]) is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--issue", "ci", "--scope", "view"), "--user NAME"),
        (("--issue", "ci", "--scope", "view", "--user", "nobody"), "no active user nobody"),
        (("--issue", "ci", "--user", "ann"), "Say what it may do"),
        (("--issue", "ci", "--user", "ann", "--scope", "view", "--days", "-1"), "between 0"),
        (("--issue", "x" * 101, "--user", "ann", "--scope", "view"), "at most 100"),
        (("--revoke", "ci"), "no token ci"),
    ],
)
def test_the_command_says_what_is_missing(ann: User, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("tokens", *words, stdout=io.StringIO(), stderr=io.StringIO())
    assert not Token.objects.exists()
