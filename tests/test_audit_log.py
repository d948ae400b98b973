"""Whoever changes or does something is in the audit, with before and after, and stays there."""

import csv
import io
import json
import logging

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from guardian.shortcuts import assign_perm
from pytest_django import Settings

from deploy_manager.auditing import FORMULA, NOT_AUDITED, audited_models
from deploy_manager.deployments.owners import confirm_by, take_over
from deploy_manager.deployments.request import request
from deploy_manager.inventories.formats import read_inventory
from deploy_manager.inventory.changes import Wanted
from deploy_manager.inventory.comparing import plan_import
from deploy_manager.inventory.host_keys import pin, server_facts
from deploy_manager.inventory.writing import write_import
from deploy_manager.models import (
    AuditEvent,
    Credential,
    Deployment,
    Environment,
    Project,
    Schedule,
    Server,
    UpgradePolicy,
)
from deploy_manager.models.audit import AppendOnlyError
from deploy_manager.packages.overrides import let_go
from deploy_manager.packages.pins import replace_pins
from deploy_manager.requester import requester_name
from deploy_manager.requirements.reading import read_pins
from tests.inventory import Inventory
from tests.parts.admin import ObjectRights, make_user, url, visitor
from tests.parts.rights import HIDDEN, Team, make_team

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return Project.objects.create(name="shop", repository="/srv/shop.git")


@pytest.fixture
def team(db: None) -> Team:
    return make_team()


def last() -> AuditEvent:
    return AuditEvent.objects.order_by("-pk")[0]


def edit(client: Client, project: Project, **changes: str) -> None:
    data = {
        "name": project.name,
        "repository": project.repository,
        "folder": project.folder,
        "requirements_file": project.requirements_file,
    }
    answer = client.post(url("project_change", project.pk), data | changes, REMOTE_ADDR="192.0.2.9")
    assert answer.status_code == 302


def test_a_change_in_the_admin_has_who_from_where_before_and_after(project: Project) -> None:
    edit(visitor("owner"), project, folder="src")
    event = last()
    assert (event.who, event.source, event.address) == ("owner", "admin", "192.0.2.9")
    assert (event.action, event.kind, event.name) == ("changed", "project", "shop")
    assert (event.before, event.after) == ({"folder": None}, {"folder": "src"})


def test_what_is_saved_unchanged_is_no_event(project: Project) -> None:
    count = AuditEvent.objects.count()
    edit(visitor("owner"), project)
    assert AuditEvent.objects.exclude(kind="user").count() == count


def test_what_a_command_does_is_the_account_s(inventory: Inventory) -> None:
    call_command("freeze", str(inventory.environment), "--reason", "inventory")
    event = AuditEvent.objects.get(kind="freeze")
    assert (event.who, event.source) == (requester_name(), "manage.py freeze")
    assert event.after["reason"] == "inventory"
    assert event.environment_key == inventory.environment.pk


def test_a_request_is_recorded_with_what_it_runs(
    inventory: Inventory, django_capture_on_commit_callbacks: object
) -> None:
    inventory.add_server("web1")
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        made = request(
            inventory.environment, "ping", source="manage.py", requested_by_name="ops@manager"
        )
    event = AuditEvent.objects.get(action="requested")
    assert (event.who, event.deployment_number) == ("ops@manager", made.pk)
    assert event.after["recipe"] == "ping"


def test_who_breaks_the_glass_at_once_and_who_cancels_is_recorded(
    inventory: Inventory, django_capture_on_commit_callbacks: object
) -> None:
    Environment.objects.update(approvals_needed=1)
    inventory.environment.refresh_from_db()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        made = request(
            inventory.environment,
            "deploy",
            source="manage.py",
            requested_by_name="ops@manager",
            breaks_glass=True,
            reason="The shop is down",
        )
    event = AuditEvent.objects.get(action="requested")
    assert (event.who, event.after["decision"]) == ("ops@manager", "glass")
    assert event.after["reason"] == "The shop is down"
    assert visitor("owner").post(url("deployment_cancel", made.pk)).status_code == 302
    event = AuditEvent.objects.get(action="cancelled")
    assert (event.who, event.source, event.deployment_number) == ("owner", "admin", made.pk)


def test_values_that_may_be_secret_are_fingerprints(inventory: Inventory) -> None:
    environment = inventory.environment
    User.objects.create_user("ana", password="hunter2-hunter2")
    environment.variables = {"TOKEN": "tell-nobody", "SAME": "1"}
    environment.save()
    before = last().after["variables"]
    environment.variables = {"TOKEN": "tell-nobody-2", "SAME": "1"}
    environment.save()
    after = last().after["variables"]
    assert before["SAME"] == after["SAME"]
    assert before["TOKEN"] != after["TOKEN"]
    written = json.dumps([event.as_data for event in AuditEvent.objects.all()])
    assert "tell-nobody" not in written
    assert "hunter2" not in written


def test_rights_that_are_given_and_taken_are_events() -> None:
    group = Group.objects.create(name="deployers")
    right = Permission.objects.get(codename="deploy_environment")
    group.permissions.add(right)
    assert "deploy environment" in last().after["group_permissions"]
    user = User.objects.create_user("ana")
    user.groups.add(group)
    assert last().after == {"user_groups": "deployers"}
    user.groups.remove(group)
    assert last().before == {"user_groups": "deployers"}
    user.is_superuser = True
    user.save()
    assert (last().before["is_superuser"], last().after["is_superuser"]) == (False, True)


def test_a_list_of_pins_is_one_event(inventory: Inventory) -> None:
    replace_pins(inventory.environment, read_pins("django==5.2.7\ncelery==5.6.2\n"))
    replace_pins(inventory.environment, read_pins("django==5.2.8\ncelery==5.6.2\n"))
    replace_pins(inventory.environment, read_pins("django==5.2.8\ncelery==5.6.2\n"))
    first, second = AuditEvent.objects.filter(kind="environment", action="changed").order_by("pk")
    assert set(first.after) == {"django", "celery"}
    assert (second.before, second.after) == ({"django": "5.2.7"}, {"django": "5.2.8"})


def test_servers_that_are_imported_are_events(inventory: Inventory) -> None:
    text = "[app]\nweb1 ansible_host=192.0.2.1 ansible_user=shop\n"
    wanted, before = Wanted(inventory.environment, (("all", "app"),)), last().pk
    for changed in (text, text.replace("192.0.2.1", "192.0.2.2")):
        found = read_inventory(changed.encode(), "")
        write_import(found, wanted, plan_import(found, wanted).digest)
    server, place, moved = AuditEvent.objects.filter(pk__gt=before).order_by("pk")
    assert (server.action, server.name, server.after["address"]) == ("added", "web1", "192.0.2.1")
    assert (place.action, place.environment_key) == ("added", inventory.environment.pk)
    assert place.after["roles"] == ["app"]
    assert (moved.before, moved.after) == ({"address": "192.0.2.1"}, {"address": "192.0.2.2"})


def test_a_host_key_that_is_pinned_is_an_event() -> None:
    server = Server.objects.create(name="one", address="192.0.2.1", user="shop")
    assert pin(server_facts(server), "ssh-ed25519 AAAA")
    assert (last().kind, last().name, last().action) == ("server", "one", "changed")
    assert (last().before, last().after) == ({"host_key": None}, {"host_key": "ssh-ed25519 AAAA"})


def test_a_thaw_is_an_event(inventory: Inventory) -> None:
    call_command("freeze", str(inventory.environment), "--reason", "inventory")
    call_command("thaw", str(inventory.environment))
    assert (last().kind, last().source) == ("freeze", "manage.py thaw")
    assert last().environment_key == inventory.environment.pk
    assert last().after["ended_by_name"] == requester_name()


def test_an_override_that_is_let_go_is_an_event(inventory: Inventory) -> None:
    inventory.environment.overrides.create(name="celery", version="5.5")
    let_go(inventory.environment, "celery", by="ann", reason="not needed")
    assert (last().kind, last().action) == ("override", "changed")
    assert (last().after["ended_by_name"], last().after["ended_why"]) == ("ann", "not needed")


def test_a_release_that_is_marked_as_bad_is_an_event(team: Team) -> None:
    release = team.rows["release"]
    page = f"{url('release_mark_bad')}?on={release.pk}"
    assert visitor("owner").post(page, {"reason": "It hangs."}).status_code == 302
    assert (last().kind, last().who, last().action) == ("release", "owner", "changed")
    assert "It hangs." in last().after["bad_reason"]


def test_who_takes_a_schedule_over_is_an_event(team: Team) -> None:
    schedule = Schedule.objects.get(environment=team.site)
    ann = make_user("ann", superuser=True)
    take_over(schedule, ann)
    confirmed, owned = AuditEvent.objects.filter(kind="schedule")[:2]
    assert (owned.after, list(confirmed.after)) == ({"owner_name": "ann"}, ["confirmed"])
    confirm_by(schedule, ann)
    assert (last().kind, list(last().after)) == ("schedule", ["confirmed"])


def test_rows_of_the_audit_are_neither_changed_nor_deleted(project: Project) -> None:
    event = last()
    event.who = "somebody else"
    for tampering in (
        event.save,
        event.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(who="x"),
        lambda: AuditEvent.objects.bulk_update([event], ["who"]),
    ):
        with pytest.raises(AppendOnlyError):
            tampering()
    owner = visitor("owner")
    page = url("auditevent_change", event.pk)
    assert owner.get(page).status_code == 200
    assert owner.post(page, {"who": "x"}).status_code == 403
    assert owner.post(url("auditevent_delete", event.pk), {"post": "yes"}).status_code == 403


def test_the_row_s_end_and_its_user_s_end_leave_the_event(project: Project) -> None:
    owner = visitor("owner")
    edit(owner, project, folder="src")
    changed = last().pk
    project.delete()
    User.objects.get(username="owner").delete()
    event = AuditEvent.objects.get(pk=changed)
    assert (event.who, event.user, event.name) == ("owner", None, "shop")


def test_every_table_is_audited_or_says_why_not() -> None:
    ours = {model._meta.model_name for model in apps.get_app_config("deploy_manager").get_models()}
    assert set(NOT_AUDITED) <= ours
    assert ours - set(NOT_AUDITED) <= {model._meta.model_name for model in audited_models()}


EVIL = ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\N{FULLWIDTH EQUALS SIGN}1", "<b>&")


def test_an_export_has_what_the_filters_leave_and_no_formulas(project: Project) -> None:
    for number, name in enumerate(EVIL):
        Server.objects.create(name=name, address=f"192.0.2.{number}", user="d")
    owner = visitor("owner")
    chosen = url("auditevent_export", "csv") + "?kind__exact=server"
    answer = b"".join(owner.get(chosen).streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(answer)))
    assert [row["kind"] for row in rows] == ["server"] * len(EVIL)
    assert not [cell for row in rows for cell in row.values() if cell.startswith(FORMULA)]
    lines = owner.get(url("auditevent_export", "jsonl")).streaming_content  # type: ignore[attr-defined]
    names = [json.loads(line)["name"] for line in b"".join(lines).splitlines()]
    assert EVIL[0] in names
    assert owner.get(url("auditevent_export", "xls")).status_code == 404


def test_the_command_prints_what_is_new(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = last().pk
    project.delete()
    call_command("audit_log", "--after", str(seen))
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["action"] == "deleted"
    call_command("audit_log", "--form", "csv", "--since", "1h", "--who", "nobody")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_each_event_is_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture, project: Project
) -> None:
    with caplog.at_level(logging.INFO, "deploy_manager.audit"):
        project.delete()
    assert json.loads(caplog.messages[-1])["action"] == "deleted"


def test_events_of_hidden_environments_do_not_exist(
    inventory: Inventory, settings: Settings
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    inventory.environment.ref = "other"
    inventory.environment.save()
    hidden = last()
    client = visitor("staff")
    user = User.objects.get(username="staff")
    user.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    assert str(inventory.environment) not in page_of(client)
    assert client.get(url("auditevent_change", hidden.pk)).status_code == 302
    ObjectRights.grant(user, "view_environment", inventory.environment)
    assert str(inventory.environment) in page_of(client)


def test_an_event_is_of_the_environment_or_server_that_its_row_belongs_to(team: Team) -> None:
    deployment = Deployment.objects.filter(environment=team.hidden)[0]
    deployment.approvals.create(user_name="ann", decision="approved", digest="0" * 64)
    somebody = User.objects.create_user("somebody")
    for row in (team.hidden, Server.objects.get(name__contains=HIDDEN)):
        assign_perm(f"view_{row._meta.model_name}", somebody, row)
        row.save()
    team.hidden.project.folder = "src"
    team.hidden.project.save()
    UpgradePolicy.objects.get(name__contains=HIDDEN).ignored.create(package=f"kit-of-{HIDDEN}")
    server = Server.objects.get(name__contains=HIDDEN)
    Credential.objects.create(name="key", kind="sudo", source="file", server=server)
    reader = make_user("reader", "view_auditevent")
    assign_perm("view_environment", reader, team.site)
    client = Client()
    client.force_login(reader, backend="django.contrib.auth.backends.ModelBackend")
    seen = client.get(url("auditevent_export", "jsonl")).getvalue().decode()
    told = [line for line in seen.splitlines() if HIDDEN in line or '"name": "secret"' in line]
    assert not told
    assert f'"name": "{team.site}"' in seen
    assert '"name": "somebody"' in seen, "accounts belong to no environment"
    administrator = visitor("owner").get(url("auditevent_export", "jsonl"))
    assert HIDDEN in administrator.getvalue().decode()


def page_of(client: Client) -> str:
    return client.get(url("auditevent_changelist")).content.decode()
