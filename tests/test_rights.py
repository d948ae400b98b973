"""What a right on one environment or server reaches, beyond the pages of tests/test_routes.py."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.forms import ModelChoiceField
from django.http import HttpRequest
from django.test import Client, RequestFactory
from guardian.shortcuts import assign_perm

from deploy_manager.admin.base import StyledAdmin, VisibleChoices
from deploy_manager.inventories.formats import read_inventory
from deploy_manager.inventory.changes import NEW, REFUSED, Wanted
from deploy_manager.inventory.comparing import plan_import
from deploy_manager.models import Credential, Environment, Placement, Requirement, Server
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import APP, visible
from tests.parts.admin import make_user, url
from tests.parts.rights import HIDDEN, Team, make_people, make_team

pytestmark = pytest.mark.django_db

SHOWN_TO_NOBODY = {
    *("IndexedPackage", "AuditedVersion", "ConfirmedPlan", "IdempotencyKey", "Resolution"),
}
"""Models without a page, and without an environment of their own."""


@pytest.fixture
def team(db: None) -> Team:
    return make_team()


def person(name: str, **rights: Any) -> User:
    """A member of staff with rights on single rows: change_environment=site."""
    user = make_user(name)
    for right, row in rights.items():
        assign_perm(right, user, row)
    return user


def request_of(user: User) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def page_of(client: Client, row: Environment | Server) -> str:
    kind = row._meta.model_name
    return str(client.get(url(f"{kind}_change", row.pk)).content.decode())


def form_of(client: Client, row: Environment | Server, **changes: Any) -> dict[str, Any]:
    """Return what a page of the admin sends if only these fields are changed."""
    answer = client.get(url(f"{row._meta.model_name}_change", row.pk))
    shown = answer.context["adminform"].form
    forms = [shown, *(f for s in answer.context["inline_admin_formsets"] for f in s.formset)]
    sent = {
        form.add_prefix(name): form[name].value()
        for form in forms
        for name in form.fields
        if form[name].value() is not None and form[name].value() is not False
    }
    for inline in answer.context["inline_admin_formsets"]:
        management = inline.formset.management_form
        sent |= {
            management.add_prefix(name): management[name].value() for name in management.fields
        }
    return {**sent, **changes}


def test_every_admin_takes_its_rows_and_choices_from_one_base(team: Team) -> None:
    seer = request_of(person("seer", view_environment=team.site, view_server=team.server))
    for model, registered in admin.site._registry.items():
        if model._meta.app_label != APP:
            continue
        assert isinstance(registered, StyledAdmin), f"{model.__name__}: use StyledAdmin"
        for inline in registered.inlines:
            assert issubclass(inline, VisibleChoices), f"{inline.__name__}: use OfEnvironmentInline"
        shown = set(registered.get_queryset(seer).values_list("pk", flat=True))
        allowed = set(visible(seer, model._default_manager.all()).values_list("pk", flat=True))
        everything = set(model._default_manager.values_list("pk", flat=True))
        assert shown <= allowed
        assert allowed < everything, f"{model.__name__}: the hidden row is shown"


def test_of_every_model_it_is_said_who_may_see_it(team: Team) -> None:
    seer = request_of(person("seer", view_environment=team.site))
    for model in apps.get_app_config(APP).get_models():
        rows = model._default_manager.all()
        if model.__name__ in SHOWN_TO_NOBODY:
            with pytest.raises(ImproperlyConfigured):
                visible(seer, rows)
        else:
            assert visible(seer, rows).count() <= rows.count()


def test_no_form_offers_what_is_hidden(team: Team) -> None:
    rights = ("change_environment", "upgrade_environment")
    user = person("editor", **dict.fromkeys(rights, team.site), use_server=team.server)
    request = request_of(user)
    for model, registered in admin.site._registry.items():
        if model._meta.app_label == APP:
            offered = [registered.get_form(request, change=False).base_fields]
            for inline in registered.get_inline_instances(request):
                offered.append(inline.get_formset(request).form.base_fields)
            for fields in offered:
                for name, field in fields.items():
                    if isinstance(field, ModelChoiceField):
                        labels = {str(row) for row in field.queryset or ()}
                        assert not [each for each in labels if HIDDEN in each], (model, name)


def test_nobody_is_placed_on_a_server_without_a_right_on_it(team: Team) -> None:
    production = Server.objects.create(name="web", address="192.0.2.1", user="shop")
    editor = person("editor", change_environment=team.site)
    client = logged_in(editor)
    new = {
        "placements-TOTAL_FORMS": 2,
        "placements-1-environment": team.site.pk,
        "placements-1-server": production.pk,
        "placements-1-roles": '["app"]',
        "placements-1-order": 2,
    }
    where = url("environment_change", team.site.pk)
    answer = client.post(where, form_of(client, team.site, **new))
    assert "That choice is not one of the available choices" in answer.content.decode()
    moved = form_of(client, team.site, **{"placements-0-server": production.pk})
    assert client.post(where, moved).status_code == 200
    assert not production.placements.exists()
    # What stands there already stays, and may be changed otherwise.
    kept = form_of(client, team.site, **{"placements-0-roles": '["app", "worker"]'})
    assert client.post(where, kept).status_code == 302
    assert team.site.placements.get().roles == ["app", "worker"]
    assign_perm("use_server", editor, production)
    assert client.post(where, form_of(client, team.site, **new)).status_code == 302
    assert production.placements.get().environment == team.site


def test_a_builder_and_a_gateway_need_the_right_to_use_them(team: Team) -> None:
    bastion = Server.objects.create(name="bastion", address="192.0.2.1", user="shop")
    user = person("editor", change_environment=team.site, change_server=team.server)
    client = logged_in(user)
    site, server = url("environment_change", team.site.pk), url("server_change", team.server.pk)
    built = {"builder": bastion.pk, "wheels": "shipped"}
    assert client.post(site, form_of(client, team.site, **built)).status_code == 200
    through = {"gateway": bastion.pk}
    assert client.post(server, form_of(client, team.server, **through)).status_code == 200
    assign_perm("use_server", user, bastion)
    assert client.post(site, form_of(client, team.site, **built)).status_code == 302
    assert client.post(server, form_of(client, team.server, **through)).status_code == 302
    found = Environment.objects.get(pk=team.site.pk).builder, Server.objects.get(name="one").gateway
    assert found == (bastion, bastion)


def test_a_search_for_a_server_finds_those_that_may_be_used(team: Team) -> None:
    user = person("editor", change_environment=team.site, view_server=team.server)
    field = {"app_label": APP, "model_name": "placement", "field_name": "server", "term": ""}
    client = logged_in(user)
    assert client.get("/admin/autocomplete/", field).json()["results"] == []
    assign_perm("use_server", user, team.server)
    found = client.get("/admin/autocomplete/", field).json()["results"]
    assert [each["text"] for each in found] == ["one"]


@pytest.mark.parametrize(("sees", "named"), [(False, "Another environment"), (True, "")])
def test_a_taken_path_names_nobody_hidden(team: Team, sees: bool, named: str) -> None:
    """The hidden site stands on the same server: who takes its path is told only that."""
    user = person("editor", change_environment=team.site, use_server=team.server)
    if sees:
        assign_perm("view_environment", user, team.hidden)
    client = logged_in(user)
    taken = {"placements-0-own_deploy_path": team.hidden.deploy_path}
    page = client.post(
        url("environment_change", team.site.pk), form_of(client, team.site, **taken)
    ).content.decode()
    site = named or f"secret/{HIDDEN}"
    path = team.hidden.deploy_path
    assert f"{site} is deployed to {path} on this server already." in page
    assert (f"secret/{HIDDEN}" in page) == sees


def test_pins_move_to_no_environment_that_may_not_be_changed(team: Team) -> None:
    pin = Requirement.objects.get(environment=team.site)
    user = person("editor", change_environment=team.site, view_environment=team.other)
    moved = {"environment": team.other.pk, "name": pin.name, "version": "6.6.6"}
    assert logged_in(user).post(url("requirement_change", pin.pk), moved).status_code == 200
    theirs = Requirement.objects.get(environment=team.hidden)
    gone = logged_in(user).post(url("requirement_change", theirs.pk), {"version": "6.6.6"})
    assert gone.status_code == 302
    assert not Requirement.objects.filter(version="6.6.6").exists()


def test_an_environment_stays_with_its_project_unless_its_editor_might_add_one(team: Team) -> None:
    user = person("editor", change_environment=team.site, view_environment=team.hidden)
    client, where = logged_in(user), url("environment_change", team.site.pk)
    own, theirs = team.site.project, team.hidden.project
    for right, project in (("view_environment", own), ("add_environment", theirs)):
        user.user_permissions.add(Permission.objects.get(codename=right))
        sent = form_of(client, team.site, project=theirs.pk)
        assert client.post(where, sent).status_code == 302
        team.site.refresh_from_db()
        assert team.site.project == project, "its code, its deploy key, its credentials"


def test_values_of_variables_are_for_those_who_may_change_secrets(team: Team) -> None:
    Environment.objects.filter(pk=team.site.pk).update(variables={"API_KEY": "s3cret"})
    team.site.refresh_from_db()
    user = person("editor", change_environment=team.site)
    client = logged_in(user)
    page = page_of(client, team.site)
    assert "API_KEY" in page
    assert "s3cret" not in page
    sent = form_of(client, team.site, variables='{"API_KEY": "stolen"}', ref="next")
    assert client.post(url("environment_change", team.site.pk), sent).status_code == 302
    team.site.refresh_from_db()
    assert (team.site.variables, team.site.ref) == ({"API_KEY": "s3cret"}, "next")
    assign_perm("change_secrets_environment", user, team.site)
    assert "s3cret" in page_of(client, team.site)
    sent = form_of(client, team.site, variables='{"API_KEY": "fresh"}')
    assert client.post(url("environment_change", team.site.pk), sent).status_code == 302
    team.site.refresh_from_db()
    assert team.site.variables == {"API_KEY": "fresh"}


def test_a_list_is_filtered_by_nothing_that_its_user_is_not_shown(team: Team) -> None:
    Environment.objects.filter(pk=team.site.pk).update(variables={"API_KEY": "s3cret"})
    client = logged_in(person("viewer", view_environment=team.site))
    sites = url("environment_changelist")
    assert client.get(f"{sites}?project__id__exact={team.site.project_id}").status_code == 200
    for guess in ("s", "x"):
        asked = client.get(f"{sites}?variables__API_KEY__startswith={guess}")
        assert asked.status_code == 400, "who may not see a value can find it by guessing"


def test_no_list_takes_a_filter_that_it_does_not_offer(team: Team) -> None:
    request = request_of(make_user("administrator", superuser=True))
    for model, registered in admin.site._registry.items():
        if model._meta.app_label != APP:
            continue
        filters = (*registered.list_filter, registered.date_hierarchy)
        offered = {getattr(each, "parameter_name", each) for each in filters}
        for field in model._meta.get_fields():
            for lookup in (field.name, f"{field.name}__startswith"):
                taken = registered.lookup_allowed(lookup, "x", request)
                assert taken == (field.name in offered), f"{model.__name__}: {lookup}"


def test_a_credential_is_seen_with_all_that_it_is_for(team: Team) -> None:
    server, project = Server.objects.get(name__contains=HIDDEN), team.hidden.project
    for name, place in (("of-server", {"server": server}), ("of-project", {"project": project})):
        Credential.objects.create(name=name, kind="sudo", source="file", **place)
    keeper = make_user("keeper", "view_credential")
    assign_perm("view_environment", keeper, team.site)
    seen = visible(request_of(keeper), Credential.objects.all())
    assert {each.name for each in seen} == {f"key of {team.site}"}
    of_all = make_user("of-all", "view_credential", "view_environment")
    seen = visible(request_of(of_all), Credential.objects.filter(name__startswith="of-"))
    assert {each.name for each in seen} == {"of-project"}, "no right on any server"


def test_a_schedule_is_saved_and_deleted_by_those_who_may_run_it(team: Team) -> None:
    user = person("editor", change_environment=team.site)
    client, where = logged_in(user), url("environment_change", team.site.pk)
    hourly = {"schedules-0-cron": "0 * * * *"}
    page = client.post(where, form_of(client, team.site, **hourly)).content.decode()
    assert "you may not run ping here" in page
    gone = {"schedules-0-DELETE": "on"}
    assert client.post(where, form_of(client, team.site, **gone)).status_code == 200
    # What one may not run stays as it is when other things are saved.
    assert client.post(where, form_of(client, team.site, ref="next")).status_code == 302
    assign_perm("run_recipe_environment", user, team.site)
    deploys = {"schedules-0-recipe": "deploy"}
    assert client.post(where, form_of(client, team.site, **deploys)).status_code == 200
    assert client.post(where, form_of(client, team.site, **hourly)).status_code == 302
    assert client.post(where, form_of(client, team.site, **gone)).status_code == 302
    assert not team.site.schedules.exists()


INVENTORY = b"""name,address,user,groups
one,192.0.2.66,thief,app
new,192.0.2.5,shop,app
"""


def test_an_import_changes_and_places_only_what_its_user_may(team: Team) -> None:
    Environment.objects.filter(pk=team.site.pk).update(deploy_path="/srv/elsewhere")
    team.site.placements.all().delete()
    inventory = read_inventory(INVENTORY, "")
    user = person("keeper", change_environment=team.site)
    wanted = Wanted(team.site, roles=(("all", "app"),), by=user)
    one, new = plan_import(inventory, wanted).planned
    assert (one.state, one.address) == (REFUSED, "")
    assert "you may not change it" in str(one.why)
    assert (new.state, new.place and new.place.state) == (NEW, REFUSED)
    assert "you may not place environments on it" in str(new.place and new.place.why)
    assert not plan_import(inventory, wanted).gone, "servers that are hidden are not named"
    assign_perm("change_server", user, team.server)
    assign_perm("use_server", user, team.server)
    one, _new = plan_import(
        inventory, Wanted(team.site, (("all", "app"),), by=afresh(user))
    ).planned
    assert (one.state, one.place and one.place.state) == ("changed", NEW)


def test_an_import_names_no_hidden_site_and_takes_no_foreign_gateway(team: Team) -> None:
    Environment.objects.filter(pk=team.site.pk).update(deploy_path=team.hidden.deploy_path)
    team.site.refresh_from_db()
    team.site.placements.all().delete()
    Server.objects.create(name="bastion", address="192.0.2.9", user="shop")
    user = person("keeper", change_environment=team.site)
    for right in ("change_server", "use_server"):
        assign_perm(right, user, team.server)
    rows = (
        b"name,address,user,gateway,groups\n"
        b"one,127.0.0.1,shop,,app\n"
        b"new,192.0.2.5,shop,bastion,app\n"
    )
    planned = plan_import(read_inventory(rows, ""), Wanted(team.site, (("all", "app"),), by=user))
    one, new = planned.planned
    assert "another environment is deployed to the same path" in str(one.place and one.place.why)
    assert new.state == REFUSED
    assert "neither in the file nor among the servers" in str(new.why)


def afresh(user: User) -> User:
    """Return the user as the next request has them: a user remembers their rights."""
    return User.objects.get(pk=user.pk)


def test_nobody_freezes_or_thaws_by_another_way(team: Team) -> None:
    user = person("deployer", deploy_environment=team.site)
    with pytest.raises(PermissionDenied):
        team.site.freeze("Sale", "deployer", user=user)
    team.site.freeze("Sale", "me@here")
    with pytest.raises(PermissionDenied):
        team.site.thaw("deployer", user)
    assert team.site.is_frozen


def test_a_deletion_names_nothing_hidden(team: Team) -> None:
    user = person("keeper", delete_server=team.server, view_environment=team.site)
    page = logged_in(user).get(url("server_delete", team.server.pk)).content.decode()
    assert HIDDEN not in page
    assert "rows that you may not see" in page
    assert logged_in(user).post(url("server_delete", team.server.pk), {"post": "yes"}).status_code
    assert Server.objects.filter(pk=team.server.pk).exists()


def test_rights_of_groups_on_one_row_count_and_those_of_the_inactive_do_not(team: Team) -> None:
    user = person("deployer", deploy_environment=team.site)
    assert may(user, Right.DEPLOY, team.site)
    assert may(user, Right.VIEW_LOG, team.site)
    assert not may(user, Right.DEPLOY, team.other)
    assert not may(user, Right.CHANGE, team.site)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert not may(afresh(user), Right.VIEW, team.site)


def test_what_a_page_asks_for_rights_does_not_grow_with_the_environments(
    team: Team, django_assert_max_num_queries: Any
) -> None:
    people = make_people(team)
    for number in range(30):
        Environment.objects.create(
            project=team.site.project, name=f"more{number}", deploy_path=f"/srv/{number}"
        )
    with django_assert_max_num_queries(25):
        assert people["deployer"].get(url("environment_changelist")).status_code == 200
    assert Placement.objects.exists()
