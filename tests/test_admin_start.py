"""From ticking environments to a deployment: actions, the confirmation page, the request."""

from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from deploy_manager.models import Deployment, Environment, Project, Release, State
from deploy_manager.recipes import all_pipelines
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import make_user, url, visitor, write_deployment
from tests.parts.admin_run import confirmed, make_served_shop, run_page, shown_plan
from tests.parts.repository import Repository


@pytest.fixture
def shop(tmp_path: Path, db: None) -> Inventory:
    return make_served_shop(tmp_path)


@pytest.fixture
def newest(shop: Inventory) -> str:
    """The hash that the branch leads to."""
    head = Path(shop.environment.project.repository, ".git/refs/heads/main")
    return head.read_text().strip()


def press(client: Client, action: str, *environments: Environment, follow: bool = True) -> str:
    data = {"action": action, "_selected_action": [entry.pk for entry in environments]}
    answer = client.post(url("environment_changelist"), data, follow=follow)
    return str(answer.content.decode())


def test_deploy_stands_first_among_the_actions(shop: Inventory) -> None:
    page = visitor("deployer").get(url("environment_changelist"))
    form = page.context["action_form"]
    names = [name for name, _ in form.fields["action"].choices if name]
    assert names[:3] == ["run_deploy", "run_rollback", "run_converge"]
    parts_of_a_rollback = {"check_release", "reverse_migrations"}
    have_a_page_of_their_own = {"upgrade", "manage_site"}
    take_the_right_to_change_servers = {"provision", "preview_provision"}
    pipelines = {pipeline.name for pipeline in all_pipelines()}
    startable = pipelines - parts_of_a_rollback - have_a_page_of_their_own
    startable -= take_the_right_to_change_servers
    assert set(names) == {f"run_{name}" for name in startable} | {"upgrade_packages"}


def test_a_viewer_has_no_actions_and_can_force_none(shop: Inventory) -> None:
    viewer = visitor("viewer")
    assert "run_deploy" not in viewer.get(url("environment_changelist")).content.decode()
    press(viewer, "run_deploy", shop.environment)
    viewer.post(run_page(shop, "ping"), confirmed(shop))
    assert not Deployment.objects.exists()


def test_the_page_shows_commits_pins_servers_and_steps(shop: Inventory, newest: str) -> None:
    page = press(visitor("deployer"), "run_deploy", shop.environment)
    for piece in (newest[:8], "Show &lt;b&gt;stock&lt;/b&gt;", "5.2.1", "5.2.3", "sqlparse"):
        assert piece in page
    for word in ("added", "removed", "changed", "Migrate", "one", "two", 'name="_confirm"'):
        assert word in page
    assert "<b>stock</b>" not in page


def test_the_page_names_new_migrations_and_the_databases_they_are_for(shop: Inventory) -> None:
    Repository(Path(shop.environment.project.repository)).commit(
        "Keep prices", {"shop/migrations/0004_price.py": ""}
    )
    Environment.objects.update(migrate_databases=["default", "reports"])
    page = press(visitor("deployer"), "run_deploy", shop.environment)
    assert "<code>shop.0004_price</code>" in page
    assert "Migrated databases: default, reports." in page
    assert "<i>developer</i>" not in page


def test_confirming_writes_what_was_shown_and_opens_its_page(shop: Inventory, newest: str) -> None:
    deployer = visitor("deployer")
    answer = deployer.post(run_page(shop), confirmed(shop, newest) | {"reason": "Stock"})
    deployment = Deployment.objects.get()
    assert answer["Location"] == url("deployment_change", deployment.pk)
    assert (deployment.commit, deployment.ref, deployment.reason) == (newest, "main", "Stock")
    assert (deployment.source, deployment.requested_by_name) == ("admin", "deployer")
    assert deployment.requested_by is not None
    assert LogEntry.objects.get().object_id == str(deployment.pk)


def test_the_commit_that_was_looked_at_runs_though_the_branch_moved(
    shop: Inventory,
) -> None:
    old = Release.objects.get().commit
    visitor("deployer").post(run_page(shop), confirmed(shop, old))
    assert Deployment.objects.get().commit == old


@pytest.mark.parametrize(
    "change",
    [{"ref": "other"}, {"servers": ["one"]}, {"commit": ""}, {"shown_servers": "one"}],
)
def test_what_was_not_shown_is_planned_again_and_not_run(
    shop: Inventory, newest: str, change: dict[str, str | list[str]]
) -> None:
    answer = visitor("deployer").post(run_page(shop), confirmed(shop, newest, **change))
    assert answer.status_code == 200
    assert "changed since it was shown" in answer.content.decode()
    assert not Deployment.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"ref": "--upload-pack=x", "shown_ref": "--upload-pack=x"},
        {"ref": "$(id)", "shown_ref": "$(id)"},
        {"commit": "HEAD; id"},
        {"servers": ["nine"], "shown_servers": "nine"},
        {"servers": [], "shown_servers": ""},
    ],
)
def test_what_no_page_would_send_is_reported_and_not_run(
    shop: Inventory, newest: str, change: dict[str, str | list[str]]
) -> None:
    answer = visitor("deployer").post(run_page(shop), confirmed(shop, newest, **change))
    page = answer.content.decode()
    assert "This would fail" in page
    assert 'name="_confirm"' not in page
    assert not Deployment.objects.exists()


def test_a_server_with_two_places_in_the_environment_is_confirmed_at_once(
    shop: Inventory, newest: str
) -> None:
    first = shop.environment.placements.get(server__name="one")
    shop.environment.placements.create(server=first.server, own_deploy_path="/srv/second")
    twice: dict[str, str | list[str]] = {"servers": ["one", "one", "two"]}
    visitor("deployer").post(run_page(shop), confirmed(shop, newest, **twice))
    assert Deployment.objects.get().host_runs.count() == 3


def test_a_chosen_server_alone_gets_the_steps(shop: Inventory, newest: str) -> None:
    sent = confirmed(shop, newest, servers=["two"], shown_servers="two")
    visitor("deployer").post(run_page(shop), sent)
    assert [run.server_name for run in Deployment.objects.get().host_runs.all()] == ["two"]


def test_where_it_would_fail_there_is_no_button(inventory: Inventory) -> None:
    page = visitor("deployer").get(run_page(inventory)).content.decode()
    assert "This would fail" in page
    assert "/nowhere/shop.git" in page
    assert 'name="_confirm"' not in page


def test_an_environment_without_servers_is_reported(db: None, tmp_path: Path) -> None:
    bare = make_inventory(tmp_path)
    page = visitor("deployer").get(run_page(bare, "ping")).content.decode()
    assert "has no servers yet" in page
    assert 'name="_confirm"' not in page


def test_a_busy_environment_links_to_what_runs(shop: Inventory, newest: str) -> None:
    live = write_deployment(shop.environment)
    link = url("deployment_change", live.pk)
    deployer = visitor("deployer")
    assert link in deployer.get(run_page(shop)).content.decode()
    answer = deployer.post(run_page(shop), confirmed(shop, newest), follow=True)
    assert "is busy" in answer.content.decode()
    assert f'href="{link}"' in answer.content.decode()
    assert Deployment.objects.count() == 1


def test_several_environments_are_confirmed_at_once_and_the_busy_one_left_out(
    shop: Inventory,
) -> None:
    project = Project.objects.get()
    other = Environment.objects.create(project=project, name="other", deploy_path="/srv/o")
    other.placements.create(server=shop.environment.placements.all()[0].server)
    busy = Environment.objects.create(project=project, name="third", deploy_path="/srv/t")
    busy.placements.create(server=shop.environment.placements.all()[0].server)
    write_deployment(busy)
    deployer = visitor("deployer")
    page = press(deployer, "run_ping", shop.environment, other, busy)
    assert "2 environments" in page
    sent = confirmed(shop)
    sent |= {
        f"e{other.pk}-{name}": value
        for name, value in (
            *(("confirmed", "on"), ("servers", "one"), ("shown_servers", "one")),
            ("shown_plan", shown_plan(other, "one")),
        )
    }
    address = url("environment_run", "ping", on=f"{shop.environment.pk},{other.pk},{busy.pk}")
    answer = deployer.post(address, sent)
    assert answer["Location"] == url("environment_changelist")
    assert Deployment.objects.filter(state=State.QUEUED).count() == 2


def test_unknown_recipes_and_environments_are_not_found(shop: Inventory) -> None:
    deployer = visitor("deployer")
    assert deployer.get(run_page(shop, "no_such")).status_code == 404
    assert deployer.get(url("environment_run", "ping", on="x,999")).status_code == 404


def test_confirming_needs_a_token(shop: Inventory) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("ana", superuser=True))
    assert strict.post(run_page(shop, "ping"), confirmed(shop)).status_code == 403
    assert not Deployment.objects.exists()
