"""`fab production deploy`: exact names, one row each, and a process that is its own worker."""

import signal

import pytest

from deploy_manager.cli.fab.tasks import name_environments
from deploy_manager.models import Environment, Project
from tests.parts.own_project import OwnProject


def test_the_list_shows_every_name_as_it_is_typed(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "--list")
    names = {line.split()[0] for line in printed.splitlines() if line.startswith("  ")}
    assert code == 0, printed
    assert {"deploy", "checkout_latest", "maintenance_up", "greet_all", "production"} <= names
    assert "Greet the visitors" in printed
    # An ambiguous environment has its project's name before it.
    assert {"shop-staging", "blog-staging"} <= names
    assert "staging" not in names


@pytest.mark.django_db
def test_no_name_can_mean_two_environments() -> None:
    made = [("shop", "eu-live"), ("shop-eu", "live"), ("blog", "eu-live"), ("blog", "live")]
    for project, name in [*made, ("blog", "blog-live"), ("blog", "ping"), ("blog", "demo")]:
        owner, _ = Project.objects.get_or_create(name=project, repository="/nowhere")
        Environment.objects.create(project=owner, name=name, deploy_path="/nowhere")
    named = name_environments(list(Environment.objects.select_related("project")), {"ping"})
    assert {name: str(environment) for name, environment in named} == {
        "shop/eu-live": "shop/eu-live",
        "shop-eu/live": "shop-eu/live",
        "blog-eu-live": "blog/eu-live",
        "blog/live": "blog/live",
        "blog-blog-live": "blog/blog-live",
        "blog-ping": "blog/ping",
        "demo": "blog/demo",
    }


def test_recipes_run_on_every_server_in_the_order_typed(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "production", "ping", "greet_all")
    assert code == 0, printed
    assert "[one] hello from one\n" in printed
    assert "[two] hello from two\n" in printed
    assert own_project.deployments() == ["fab ping succeeded", "fab greet_all succeeded"]


def test_what_follows_a_failure_is_not_run(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "production", "fail_on_two", "greet_all")
    assert code == 1
    assert "partly failed" in printed
    assert own_project.deployments() == ["fab fail_on_two partly_failed"]


@pytest.mark.long
def test_only_the_named_server_takes_part(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "production", "greet_all", "--server", "two")
    assert code == 0, printed
    assert "[one]" not in printed


def test_a_recipe_needs_an_environment_before_it(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "greet_all")
    assert code == 2
    assert "fab production greet_all" in printed


def test_a_name_that_is_unknown_is_answered_with_the_environments(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "produktion", "greet_all")
    assert code != 0
    assert "No idea what 'produktion' is! Environments: " in printed
    assert "production" in printed
    assert "shop-staging" in printed
    _, printed = own_project.run("fab", "production", "greet_all", "--sever=two")
    assert "No idea what '--sever" in printed
    assert "Environments:" not in printed


def test_what_is_refused_is_reported_without_a_traceback(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "production", "greet_all", "--server", "nine")
    assert code == 2
    assert "has no server nine" in printed
    assert "Traceback" not in printed


def test_without_tables_the_recipes_are_listed_all_the_same(bare_project: OwnProject) -> None:
    code, printed = bare_project.run("fab", "--list")
    assert code == 0, printed
    assert "Has manage.py migrate been run?" in printed
    assert "maintenance_up" in printed


def test_ctrl_c_cancels_what_runs(own_project: OwnProject) -> None:
    process = own_project.start("fab", "production", "linger", "greet_all")
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "lingering" in line and "$" not in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 1, seen + rest
    assert "Cancelled by" in rest
    assert own_project.deployments() == ["fab linger cancelled"]


def test_settings_that_are_not_there_are_named(bare_project: OwnProject) -> None:
    (bare_project.folder / "settings.py").unlink()
    code, printed = bare_project.run("fab", "--list")
    assert code == 2
    assert "Django can't start: No module named 'settings'" in printed


def test_a_dry_run_shows_the_commands_and_writes_no_row(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "production", "greet_all", "--dry-run")
    assert code == 0, printed
    assert "[two]   $ echo 'hello from two'\n" in printed
    assert own_project.deployments() == []


@pytest.mark.long
def test_a_retry_goes_where_it_failed(own_project: OwnProject) -> None:
    _, printed = own_project.run("fab", "production", "fail_on_two")
    assert "`fab production retry --deployment=1` runs it again on two." in printed
    code, printed = own_project.run("fab", "production", "retry", "--reason", "once more")
    assert code == 1, printed
    assert "[one]" not in printed
    assert own_project.deployments() == ["fab fail_on_two partly_failed", "fab fail_on_two failed"]


@pytest.mark.long
def test_what_was_run_elsewhere_is_not_retried_here(own_project: OwnProject) -> None:
    own_project.run("fab", "production", "fail_on_two")
    code, printed = own_project.run("fab", "shop-staging", "retry", "--deployment=1")
    assert code == 2
    assert "#1 fail_on_two shop/production is not a deployment of shop/staging." in printed


@pytest.mark.long
def test_there_must_be_a_release_to_go_back_to(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "production", "rollback", "--to=20260101")
    assert code == 2
    assert "No release 20260101 is complete on every server of shop/production." in printed
    code, printed = own_project.run("fab", "production", "converge", "--server=two")
    assert code == 2
    assert "No other server of shop/production serves a release yet: deploy it." in printed
