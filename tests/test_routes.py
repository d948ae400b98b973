"""Every page, action, JSON view and download of the admin, and every command: open to whom?

The tables hold all there are. What is added to the admin and not to them fails.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import get_commands
from django.db import transaction
from django.template.response import SimpleTemplateResponse
from django.test import Client
from guardian.shortcuts import assign_perm

from deploy_manager.models.rights import ON_ENVIRONMENT, ON_SERVER, Right
from deploy_manager.visibility import APP
from tests.parts.admin import make_user, url
from tests.parts.rights import (
    HIDDEN,
    ROLES,
    Team,
    address_of,
    make_people,
    make_team,
    outcome,
)

People = Mapping[str, Client]

# In the order of ROLES: anonymous, stranger, elsewhere, viewer, approver, editor, deployer, keeper,
# administrator. See `outcome` for the signs: 2 opens, 3 is done, X forbidden, . and - not found, L
# to log in, M only by the other method, C refused with a reason.
ROUTES = """
deployment_changelist          LX22222X2 LX22222X2
deployment_add                 LXXXXXXXX LXXXXXXXX
deployment_history             L--2222-2 L--2222-2
deployment_delete              LXXXXXXXX LXXXXXXXX
deployment_change              L..2222.2 LXXXXXXXX
deployment_progress            L..2222.2 LMMMMMMMM
deployment_cancel              LMMMMMMMM L..XXX3.3
deployment_retry               LMMMMMMMM L..XXX3.3
deployment_log                 L..XXX2.2 LMMMMMMMM
deployment_search              L..XXX2.2 LMMMMMMMM
deployment_notes               L..2222.2 LMMMMMMMM
deployment_approve             LMMMMMMMM L..X3XX.3
release_changelist             LX22222X2 LX22222X2
release_add                    LXXXXXXXX LXXXXXXXX
release_history                L--2222-2 L--2222-2
release_delete                 LXXXXXXXX LXXXXXXXX
release_change                 LX-2222X2 LXXXXXXXX
release_mark_bad               L..XXX2.2 L..XXX3.3
environment_changelist         LX22222X2 LX22222X2
environment_add                LXXXXXXX2 LXXXXXXX2
environment_history            L--2222-2 L--2222-2
environment_delete             LXXXXXXX2 LXXXXXXX2
environment_change             LX-2222X2 LX-XX2XX2
environment_run                L..XXX2.2 L..XXX2.2
environment_access             L..XX2X.2 L..XX2X.2
environment_freeze             L..XXX2.2 L..XXX3.3
environment_schedule           LMMMMMMMM L..XXX3.3
environment_command            L..XXX2.2 L..XXX2.2
environment_requirements       L..XX2X.2 L..XX2X.2
project_changelist             LX22222X2 LX22222X2
project_add                    LXXXXXXX2 LXXXXXXX2
project_history                L-22222-2 L-22222-2
project_delete                 LXXXXXXX2 LXXXXXXX2
project_change                 LX22222X2 LXXXXXXX2
server_changelist              LXXXXXX22 LXXXXXX22
server_add                     LXXXXXXX2 LXXXXXXX2
server_history                 L------22 L------22
server_delete                  LXXXXXXX2 LXXXXXXX2
server_change                  LXXXXXX22 LXXXXXX22
server_access                  L......22 L......22
server_host_key                L......22 L......22
server_host_keys               LXXXXXX33 LXXXXXX33
server_import                  LXXXXXXX2 LXXXXXXX2
advisory_changelist            LX22222X2 LX22222X2
advisory_add                   LXXXXXXXX LXXXXXXXX
advisory_history               L--2222-2 L--2222-2
advisory_delete                LXXXXXXXX LXXXXXXXX
advisory_change                LX.2222X2 LX.2222X2
lockfile_changelist            LX22222X2 LX22222X2
lockfile_add                   LXXXXXXXX LXXXXXXXX
lockfile_history               L--2222-2 L--2222-2
lockfile_delete                LXXXXXXXX LXXXXXXXX
lockfile_change                LX-2222X2 LXXXXXXXX
lockfile_download              L..2222.2 L..2222.2
lockfile_comparison            L..2222.2 L..2222.2
installedpackage_changelist    LX22222X2 LX22222X2
installedpackage_add           LXXXXXXXX LXXXXXXXX
installedpackage_history       L--XXXX-X L--XXXX-X
installedpackage_delete        LXXXXXXXX LXXXXXXXX
installedpackage_change        LX-XXXXXX LXXXXXXXX
installedpackage_look_again    LMMMMMMMM LXXXXX3X3
override_changelist            LX22222X2 LX22222X2
override_add                   LXXXXXXXX LXXXXXXXX
override_history               L--2222-2 L--2222-2
override_delete                LXXXXXXXX LXXXXXXXX
override_change                LX-2222X2 LXXXXXXXX
override_let_go                L..XX2X.2 L..XX3X.3
requirement_changelist         LX22222X2 LX22222X2
requirement_add                LX2XX2XX2 LX2XX2XX2
requirement_history            L--2222-2 L--2222-2
requirement_delete             LX-XX2XX2 LX-XX3XX3
requirement_change             LX-2222X2 LX-XX2XX2
upgrade_changelist             LX22222X2 LX22222X2
upgrade_add                    LX2XXX2X2 LX2XXX2X2
upgrade_history                L--2222-2 L--2222-2
upgrade_delete                 LXXXXXXXX LXXXXXXXX
upgrade_change                 L..2222.2 L..2222.2
upgrade_cancel                 LMMMMMMMM L..XXX3.3
upgradestage_patch             L..CCCC.C L..CCCC.C
upgradestage_commit            LMMMMMMMM L..XXX3.3
upgradepolicy_changelist       LX22222X2 LX22222X2
upgradepolicy_add              LXXXXXXX2 LXXXXXXX2
upgradepolicy_history          L--2222-2 L--2222-2
upgradepolicy_delete           LXXXXXXX2 LXXXXXXXX
upgradepolicy_change           LX-2222X2 LXXXXXXX2
upgradepolicy_run              L..XXXX.2 L..XXXX.3
upgradepolicy_own              LMMMMMMMM L..XXX3.3
policyrun_changelist           LX22222X2 LX22222X2
policyrun_add                  LXXXXXXXX LXXXXXXXX
policyrun_history              L--2222-2 L--2222-2
policyrun_delete               LXXXXXXXX LXXXXXXXX
policyrun_change               LX-2222X2 LXXXXXXXX
credential_changelist          LXXXXXXX2 LXXXXXXX2
credential_add                 LXXXXXXX2 LXXXXXXX2
credential_history             L--XXXX-2 L--XXXX-2
credential_delete              LXXXXXXX2 LXXXXXXX3
credential_change              LXXXXXXX2 LXXXXXXX2
commitstatus_changelist        LX22222X2 LX22222X2
commitstatus_add               LXXXXXXXX LXXXXXXXX
commitstatus_history           L-22222-2 L-22222-2
commitstatus_delete            LXXXXXXXX LXXXXXXXX
commitstatus_change            LX22222X2 LXXXXXXXX
token_changelist               LXXXXXXX2 LXXXXXXX2
token_add                      LXXXXXXX2 LXXXXXXX2
token_history                  L-------2 L-------2
token_delete                   LXXXXXXXX LXXXXXXXX
token_change                   LXXXXXXX2 LXXXXXXXX
token_revoke                   LMMMMMMMM L.......3
incomingwebhook_changelist     LX22222X2 LX22222X2
incomingwebhook_add            LXXXXXXX2 LXXXXXXX2
incomingwebhook_history        L--2222-2 L--2222-2
incomingwebhook_delete         LXXXXXXX2 LXXXXXXX3
incomingwebhook_change         LX-2222X2 LXXXXXXX2
incomingwebhook_own            LMMMMMMMM L..XXXX.3
incomingwebhook_renew          LMMMMMMMM L..XXXX.3
auditevent_changelist          LXXXXXXX2 LXXXXXXX2
auditevent_add                 LXXXXXXXX LXXXXXXXX
auditevent_history             L--XXXX-2 L--XXXX-2
auditevent_delete              LXXXXXXXX LXXXXXXXX
auditevent_change              LXXXXXXX2 LXXXXXXXX
auditevent_export              LXXXXXXX2 LXXXXXXX2
auditevent_retention           LXXXXXXX2 LXXXXXXX2
"""
EXPECTED = {name: (get, post) for name, get, post in map(str.split, ROUTES.strip().splitlines())}

KEYS = {
    "auditevent_export": ("csv",),
    "auditevent_retention": (),
    "deployment_approve": ("waiting",),
    "deployment_cancel": ("waiting",),
    "environment_schedule": ("environment", "schedule", "take-over"),
    "environment_run": ("ping",),
    "lockfile_comparison": ("lockfile", "lockfile2"),
    "upgradestage_patch": ("stage",),
    "upgradepolicy_own": ("upgradepolicy", "take-over"),
    "upgradestage_commit": ("stage",),
    "incomingwebhook_own": ("incomingwebhook", "take-over"),
}
"""The rows, or words, in an address; else it is the row of the model, if any."""

WITHOUT_A_ROW = (
    *("*_changelist", "*_add", "release_mark_bad", "server_host_keys", "server_import"),
    "installedpackage_look_again",
)

# y: offered in the list; in the order of ROLES.
ACTIONS = """
environment    run_deploy          nnynnnyny
environment    run_converge        nnynnnyny
environment    run_rollback        nnynnnyny
environment    run_preview_provision nnnnnnnny
environment    run_*               nnynnnyny
environment    upgrade_packages    nnynnnyny
environment    delete_selected     nnnnnnnny
credential     delete_selected     nnnnnnnny
project        delete_selected     nnnnnnnny
release        mark_bad            nnynnnyny
requirement    delete_selected     nnynnynny
requirement    upgrade_packages    nnynnnyny
server         delete_selected     nnnnnnnny
server         fetch_host_key      nnnnnnnyy
server         make_alike          nnnnnnnny
server         provision_servers   nnnnnnnny
upgradepolicy  delete_selected     nnnnnnnny
incomingwebhook delete_selected    nnnnnnnny
"""

COMMANDS = {
    *("approve", "audit_log", "retention", "rotate_secrets", "schedules", "secret", "secrets_key"),
    *("ansible_inventory", "audit", "cancel", "converge", "deploy", "export_requirements"),
    *("export_servers", "freeze", "host_keys", "import_requirements", "import_servers"),
    *("inventory", "manage_site", "overrides", "policies", "processes", "provision", "recipe"),
    *("reconcile", "releases", "retry", "rollback", "sudoers", "thaw", "tiers", "upgrade"),
    *("promote", "tokens", "upgrade_patch"),
}
"""Trusted: a command has no user, and whoever can run it can read the worker's keys."""


def our_admins() -> Iterator[tuple[str, "admin.ModelAdmin[Any]"]]:
    for model, registered in admin.site._registry.items():
        if model._meta.app_label == APP:
            yield model._meta.model_name or "", registered


def test_the_table_has_every_route_and_no_other() -> None:
    names = {
        pattern.name.removeprefix(f"{APP}_")
        for _name, registered in our_admins()
        for pattern in registered.urls
        if pattern.name  # without: Django's redirect of old addresses
    }
    assert names == set(EXPECTED)


def test_the_table_has_every_command() -> None:
    assert {name for name, app in get_commands().items() if app == APP} == COMMANDS


@pytest.fixture
def team(db: None) -> Team:
    return make_team()


@pytest.fixture
def people(team: Team) -> People:
    return make_people(team)


def address(team: Team, route: str) -> str:
    if route in KEYS:
        keys: tuple[str, ...] = KEYS[route]
    else:
        is_bare = any(fnmatch(route, pattern) for pattern in WITHOUT_A_ROW)
        keys = () if is_bare else (route.partition("_")[0],)
    found = address_of(team, route, *keys)
    on = {"environment_run": team.site.pk, "release_mark_bad": team.key("release")}.get(route)
    return f"{found}?on={on}" if on else found


def sent(team: Team, route: str) -> dict[str, object]:
    """Return a form that is valid, where that is easy."""
    if route == "installedpackage_look_again":
        return {"environment": team.site.pk}
    return {"post": "yes", "reason": "Because"}


def ask(client: Client, method: str, where: str, data: dict[str, object] | None = None) -> str:
    """Return what a visitor gets, and change nothing."""
    with transaction.atomic():
        answer = getattr(client, method)(where, data)
        transaction.set_rollback(True)
    return outcome(answer)


def text_of(answer: Any) -> str:
    parts = answer.streaming_content if answer.streaming else [answer.content]
    return b"".join(parts).decode()


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are not put into HTML, which takes longest: what counts is who gets one."""
    monkeypatch.setattr(SimpleTemplateResponse, "rendered_content", "")


# Of all routes in one test each: the people are written once, which takes longer than a request.
def test_no_page_names_anything_hidden(team: Team) -> None:
    """Not even to those who see most: all of one environment, and its server."""
    user = make_user("somebody")
    for right in ON_ENVIRONMENT:
        assign_perm(right.codename, user, team.site)
    for right in ON_SERVER:
        assign_perm(right.codename, user, team.server)
    client = log_in(user)
    named = [route for route in EXPECTED if HIDDEN in text_of(client.get(address(team, route)))]
    assert not named


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("method", ["get", "post"])
def test_each_route_is_open_to_whom_it_should_be(team: Team, people: People, method: str) -> None:
    found = {}
    for route in EXPECTED:
        where, data = address(team, route), sent(team, route) if method == "post" else None
        found[route] = "".join(ask(people[role], method, where, data) for role in ROLES)
    wanted = {route: of[method == "post"] for route, of in EXPECTED.items()}
    assert {route: signs for route, signs in found.items() if signs != wanted[route]} == {}


@pytest.mark.usefixtures("unseen")
def test_an_action_is_offered_to_whom_it_should_be(people: People) -> None:
    rows = [line.split() for line in ACTIONS.strip().splitlines()]
    for name, registered in our_admins():
        offered = {
            role: actions_of(client, name) if role != "anonymous" else set()
            for role, client in people.items()
        }
        assert offered["administrator"] >= set(registered.actions or ())
        for action in sorted(offered["administrator"]):
            wanted = next(
                signs for model, one, signs in rows if model == name and fnmatch(action, one)
            )
            found = "".join("y" if action in offered[role] else "n" for role in ROLES)
            assert (action, found) == (action, wanted)


def actions_of(client: Client, model: str) -> set[str]:
    answer = client.get(url(f"{model}_changelist"))
    form = (answer.context_data or {}).get("action_form") if answer.status_code == 200 else None
    return {value for value, _label in form.fields["action"].choices if value} if form else set()


def test_an_action_that_is_not_offered_does_nothing(team: Team, people: People) -> None:
    viewer = people["viewer"]
    for model, action in (("environment", "run_deploy"), ("requirement", "delete_selected")):
        chosen = {"action": action, "_selected_action": [team.key(model)]}
        answer = viewer.post(url(f"{model}_changelist"), chosen)
        assert answer.status_code in (200, 302, 403)
        assert "/run/" not in answer.get("Location", "")
    assert team.rows["requirement"]._meta.model._default_manager.count() == 2


NEEDED = {
    ("get", "environment_change"): Right.VIEW,
    ("get", "deployment_log"): Right.VIEW_LOG,
    ("get", "deployment_search"): Right.VIEW_LOG,
    ("get", "environment_run", "deploy"): Right.DEPLOY,
    ("get", "environment_run", "converge"): Right.DEPLOY,
    ("get", "environment_run", "rollback"): Right.ROLL_BACK,
    ("get", "environment_run", "ping"): Right.RUN_RECIPE,
    ("get", "environment_run", "maintenance_up"): Right.RUN_RECIPE,
    ("get", "environment_command"): Right.RUN_RECIPE,
    ("post", "deployment_cancel"): Right.RUN_RECIPE,
    ("get", "upgrade_add"): Right.UPGRADE,
    ("post", "upgrade_cancel"): Right.UPGRADE,
    ("get", "environment_freeze"): Right.FREEZE,
    ("post", "environment_change"): Right.CHANGE,
    ("get", "environment_requirements"): Right.CHANGE,
    ("get", "override_let_go"): Right.CHANGE,
    ("get", "environment_access"): Right.CHANGE,
    ("get", "environment_delete"): Right.DELETE,
}


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("right", ON_ENVIRONMENT)
def test_a_right_opens_what_it_is_for_and_includes_no_other(team: Team, right: Right) -> None:
    user = make_user("somebody")
    assign_perm(right.codename, user, team.site)
    client = log_in(user)
    includes = {right, Right.VIEW} | ({Right.VIEW_LOG} if right is Right.DEPLOY else set())
    opened = {}
    for method, route, *recipe in NEEDED:
        where = address(team, route)
        if recipe:
            where = f"{url(route, recipe[0])}?on={team.site.pk}"
        opened[(method, route, *recipe)] = ask(client, method, where) in "23"
    assert opened == {key: needed in includes for key, needed in NEEDED.items()}
