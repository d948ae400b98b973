"""The page that says who may do what with an environment or a server, and why."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm
from pytest_django import Settings

from deploy_manager.admin.inventory.access import LABELS, USERS_SHOWN, Access
from deploy_manager.models import Environment
from deploy_manager.models.rights import ON_ENVIRONMENT, ON_SERVER, Right, may
from tests.parts.admin import ObjectRights, make_user, url, visitor
from tests.parts.rights import Team, make_people, make_team

pytestmark = pytest.mark.django_db


@pytest.fixture
def team(db: None) -> Team:
    return make_team()


def told(access: Access) -> dict[str, dict[str, tuple[str, ...]]]:
    """The reasons by user and label; without the rights that somebody lacks."""
    return {
        str(line.user): {cell.label: cell.reasons for cell in line.cells if cell.reasons}
        for line in access.lines(access.page(1))
    }


def test_it_says_where_each_right_comes_from(team: Team) -> None:
    group = Group.objects.create(name="deployers")
    group.permissions.add(Permission.objects.get(codename="deploy_environment"))
    make_user("boss", superuser=True)
    make_user("own", "freeze_environment")
    make_user("member").groups.add(group)
    assign_perm("change_environment", make_user("here"), team.site)
    assign_perm("roll_back_environment", group, team.site)
    assign_perm("deploy_environment", make_user("elsewhere"), team.other)
    make_user("nobody")
    User.objects.create_superuser("left", is_active=False)
    found = told(Access(team.site))
    assert set(found) == {"boss", "own", "member", "here"}
    assert set(found["boss"].values()) == {("superuser",)}
    assert found["own"] == {
        "see it": ("because of “freeze”",),
        "freeze": ("own permission",),
    }
    assert found["member"] == {
        "see it": ("because of “deploy”",),
        "read logs": ("because of “deploy”",),
        "deploy": ("group deployers",),
        "roll back": ("group deployers, here only",),
    }
    assert found["here"] == {
        "see it": ("because of “change it”",),
        "change it": ("own permission, here only",),
    }


def test_it_says_what_the_rights_themselves_say(team: Team) -> None:
    make_people(team)
    group = Group.objects.create(name="all")
    group.permissions.add(Permission.objects.get(codename="upgrade_environment"))
    User.objects.get(username="viewer").groups.add(group)
    for row in (team.site, team.other, team.hidden, team.server):
        access = Access(row)
        shown = told(access)
        for user in User.objects.all():
            rights = {LABELS[right] for right in access.rights if may(user, right, row)}
            assert set(shown.get(user.username, ())) == set(map(str, rights)), (user, row)


def test_a_backend_of_the_site_s_own_is_asked(
    team: Team, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        *settings.AUTHENTICATION_BACKENDS,
        "tests.parts.admin.ObjectRights",
    ]
    monkeypatch.setattr(ObjectRights, "granted", set())
    ObjectRights.grant(make_user("ana"), "upgrade_environment", team.site)
    text = ("by the site's authentication backend",)
    assert told(Access(team.site))["ana"]["upgrade"] == text


def test_it_takes_as_many_queries_for_one_user_as_for_a_page_of_them(team: Team) -> None:
    owner = visitor("owner")

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert owner.get(url("environment_access", team.site.pk)).status_code == 200
        return len(queries)

    few = count()
    group = Group.objects.create(name="deployers")
    assign_perm("deploy_environment", group, team.site)
    for number in range(USERS_SHOWN):
        make_user(f"user{number}").groups.add(group)
    assert count() <= few + 3
    page = owner.get(url("environment_access", team.site.pk)).content.decode()
    assert "Page 1 of 2" in page
    assert "user9" in owner.get(url("environment_access", team.site.pk, p=2)).content.decode()


def test_its_button_is_for_those_who_may_change_the_row(team: Team) -> None:
    def has_button(client: Client, row: Any, kind: str) -> bool:
        page = client.get(url(f"{kind}_change", row.pk)).content.decode()
        return url(f"{kind}_access", row.pk) in page

    people = make_people(team)
    assert has_button(people["editor"], team.site, "environment")
    assert not has_button(people["deployer"], team.site, "environment")
    assert has_button(people["keeper"], team.server, "server")


def test_every_right_has_a_label_and_a_row_in_its_model() -> None:
    assert set(LABELS) == {*ON_ENVIRONMENT, *ON_SERVER}
    known = set(Permission.objects.values_list("codename", flat=True))
    assert {right.codename for right in Right} <= known
    assert Environment._meta.permissions
