"""Every operation of the API: open to which token?

The table holds all there are: an operation that is added to the API and not to it fails.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone

from deploy_manager.models import Environment, Resolution, State, Token
from deploy_manager.models.tokens import Scope
from tests.parts.admin import write_deployment
from tests.parts.api import Caller, operations, problem_of
from tests.parts.rights import HIDDEN, Team, make_team

# In the order of VISITORS: who is nobody (nobody, unknown, expired, revoked, inactive), all scopes
# on another environment, then on this one each scope alone (view, view_log, deploy, roll_back,
# run_recipe, upgrade, approve, report, break_glass), all of them by a user who may only look, and
# all of them.
# 2: done, L: who are you, X: not allowed, .: nothing there, C: refused with a reason, V: invalid.
ROUTES = """
health                     2LLLL 2 222222222 2 2
me                         LLLLL 2 222222222 2 2
list_environments          LLLLL 2 222222222 2 2
get_environment            LLLLL . 2222222.. 2 2
list_servers               LLLLL 2 222222222 2 2
get_server                 LLLLL . 2........ . 2
plan:ping                  LLLLL . XXXX2XX.. X 2
plan:deploy                LLLLL . XXCXXXX.. X C
plan:rollback              LLLLL . XXXCXXX.. X C
plan:upgrade               LLLLL . XXXXX2X.. X 2
deploy:ping                LLLLL . XXXX2XX.. X 2
deploy:deploy              LLLLL . XXCXXXX.. X C
deploy:rollback            LLLLL . XXXCXXX.. X C
list_deployments           LLLLL 2 222222222 2 2
get_deployment             LLLLL . 2222222.. 2 2
watch_deployment           LLLLL . 2222222.. 2 2
get_log                    LLLLL . X22XXXX.. X 2
get_notes                  LLLLL . 2222222.. 2 2
cancel                     LLLLL . XXXX2XX.. X 2
retry                      LLLLL . XXXX2XX.. X 2
approve                    LLLLL . XXXXXX2.. X 2
deny                       LLLLL . XXXXXX2.. X 2
break_glass                LLLLL . XXXXXXX.. X 2
who_runs                   LLLLL 2 222222222 2 2
list_advisories            LLLLL 2 222222222 2 2
report_status              LLLLL 2 XXXXXXX2. X 2
list_statuses              LLLLL 2 2222222.. 2 2
plan_upgrade               LLLLL . XXXXXCX.. X C
get_upgrade_plan           LLLLL . .....2... . 2
upgrade                    LLLLL . .....C... . C
list_upgrades              LLLLL 2 222222222 2 2
get_upgrade                LLLLL . 2222222.. 2 2
cancel_upgrade             LLLLL . XXXXX2X.. X 2
"""
EXPECTED = {name: "".join(signs) for name, *signs in map(str.split, ROUTES.strip().splitlines())}

SIGNS = {200: "2", 201: "2", 202: "2", 401: "L", 403: "X", 404: ".", 409: "C", 422: "V"}
pytestmark = pytest.mark.django_db


def test_the_table_has_every_operation_and_no_other() -> None:
    assert {name.partition(":")[0] for name in EXPECTED} == operations().keys()


@pytest.fixture
def team() -> Team:
    made = make_team()
    boss = User.objects.create(username="boss", is_superuser=True)
    made.rows["approvable"] = write_deployment(
        made.site,
        state=State.WAITING,
        approvals_needed=2,
        approve_by=timezone.now() + timedelta(hours=1),
    )
    made.rows["asked"] = Resolution.objects.create(
        kind=Resolution.Kind.UPGRADE, environments=[made.site.pk], requested_by=boss
    )
    return made


def visitors(team: Team) -> list[Caller]:
    boss = User.objects.get(username="boss")
    looks = User.objects.create(username="looks")
    looks.user_permissions.set(permissions("view_environment"))
    away = User.objects.create(username="away", is_superuser=True, is_active=False)
    past = timezone.now() - timedelta(seconds=1)
    everything = list(Scope.values)

    def made(user: User, *sites: Environment, scopes: list[str] = everything, **fields: Any) -> Any:
        token, secret = Token.objects.issue(user, sites, name="ci", scopes=scopes)
        Token.objects.filter(pk=token.pk).update(**fields or {"name": "ci"})
        return Caller(secret)

    return [
        Caller(),
        Caller("dm_" + "x" * 43),
        made(boss, expires_at=past),
        made(boss, revoked_at=past),
        made(away),
        made(boss, team.other),
        *(made(boss, team.site, scopes=[scope]) for scope in Scope.values),
        made(looks),
        made(boss),
    ]


def permissions(*names: str) -> Any:
    return Permission.objects.filter(codename__in=names)


def send(team: Team, name: str, who: Caller) -> Any:
    """Send a request that is valid."""
    operation, _colon, recipe = name.partition(":")
    found = operations()[operation]
    path = str(found.path).removeprefix("/deploy/api/v1/")
    rows = {"get_upgrade_plan": "asked", "get_upgrade": "upgrade", "cancel_upgrade": "upgrade"}
    rows |= {"cancel": "waiting", **dict.fromkeys(("approve", "deny", "break_glass"), "approvable")}
    key = rows.get(operation, "deployment")
    name_ = team.server.name if "servers" in path else team.site.name
    path = path.format(number=team.key(key), project=team.site.project.name, name=name_)
    if found.method.upper() == "GET":
        query = {"who_runs": {"spec": "django"}, "list_statuses": {"project": "shop"}}
        return who.get(path, **query.get(operation, {}))
    return who.post(path, body_for(team, operation, recipe))


def body_for(team: Team, operation: str, recipe: str) -> dict[str, Any]:
    site = str(team.site)
    bodies: dict[str, dict[str, Any]] = {
        "plan": {"environment": site, "recipe": recipe},
        "deploy": {"environment": site, "recipe": recipe},
        "break_glass": {"reason": "Because"},
        "report_status": {
            "project": "shop",
            "commit": "a" * 40,
            "context": "tests",
            "state": "success",
        },
        "plan_upgrade": {"environments": [site]},
        "upgrade": {"plan": team.key("asked")},
    }
    return bodies.get(operation, {})


def test_each_operation_is_open_to_whom_it_should_be(team: Team) -> None:
    who = visitors(team)
    found = {}
    for name in EXPECTED:
        signs = ""
        for visitor in who:
            cache.clear()  # of failures, one address may have few
            with transaction.atomic():
                answer = send(team, name, visitor)
                transaction.set_rollback(True)
            signs += SIGNS.get(answer.status_code, str(answer.status_code))
        found[name] = signs
    assert {name: signs for name, signs in found.items() if signs != EXPECTED[name]} == {}


def test_whoever_has_no_token_that_is_good_learns_nothing(team: Team) -> None:
    told = [problem_of(each.get("me"), 401) for each in visitors(team)[:5]]
    assert all(each == told[0] for each in told)
    assert Caller().get("me")["WWW-Authenticate"] == "Bearer"


def test_no_answer_names_anything_hidden(team: Team) -> None:
    looks = visitors(team)[-2]
    other = User.objects.create(username="other", is_superuser=True)
    _token, secret = Token.objects.issue(other, [team.site], name="ci", scopes=list(Scope.values))
    for who in (looks, Caller(secret)):
        for name in EXPECTED:
            with transaction.atomic():
                answer = send(team, name, who)
                transaction.set_rollback(True)
            text = b"".join(answer.streaming_content) if answer.streaming else answer.content
            if who is not looks:
                assert HIDDEN.encode() not in text, name


def test_a_token_breaks_glass_only_if_its_scopes_say_so(team: Team) -> None:
    boss = User.objects.get(username="boss")
    body = {"environment": str(team.site), "recipe": "ping", "break_glass": True, "reason": "Fire"}
    for scopes, status in ((["run_recipe"], 403), (["run_recipe", "break_glass"], 201)):
        _token, secret = Token.objects.issue(boss, [team.site], name="ci", scopes=scopes)
        assert Caller(secret).post("deployments", body).status_code == status
