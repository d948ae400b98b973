"""Who may provision which servers, and what is refused before anything is written."""

from dataclasses import replace

import pytest
from django.test import Client
from pytest_django import Settings

from deploy_manager.conf import Settings as OwnSettings
from deploy_manager.deployments.orders import site_of
from deploy_manager.deployments.request import request
from deploy_manager.exceptions import ConfigurationError, DeployManagerError, RequestRefused
from deploy_manager.models import Deployment, Environment, HostRun, Placement, Server, State
from deploy_manager.models.processes import Process
from deploy_manager.recipes import Host, Phase, Pipeline, Reload, Site, add_pipeline, recipe
from deploy_manager.recipes.sudoers import sudoers_text
from deploy_manager.requirements.system_libraries import LIBRARIES, libraries_of
from tests.commands import call, call_and_be_refused
from tests.inventory import Inventory
from tests.parts.admin import make_user, url, visitor, write_deployment

pytestmark = pytest.mark.django_db


@pytest.fixture
def remote(inventory: Inventory) -> Inventory:
    """Its server is reached over SSH, and provisioned by root."""
    Server.objects.update(
        connection="ssh", address="192.0.2.7", user="deploy", bootstrap_user="root"
    )
    Placement.objects.update(own_deploy_path="/srv/shop")
    return inventory


def refusal(inventory: Inventory, recipe: str = "provision") -> str:
    with pytest.raises(RequestRefused) as refused:
        inventory.request(recipe)
    assert not Deployment.objects.exists()
    return str(refused.value)


def test_what_nobody_may_provision_is_refused_before_any_row_is_written(
    inventory: Inventory, settings: Settings
) -> None:
    assert "the worker's own machine, which is not provisioned" in refusal(inventory)
    Server.objects.update(connection="ssh", address="192.0.2.7", user="deploy")
    assert "one has no bootstrap user: enter root" in refusal(inventory, "preview_provision")
    Server.objects.update(bootstrap_user="root")
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "PROVISION": False}
    assert "Servers are not provisioned from here" in refusal(inventory)
    said = call_and_be_refused("provision", "production", "one")
    assert "manage.py provision … --print" in said


def test_it_takes_the_right_to_change_the_server(remote: Inventory) -> None:
    deployer = make_user("only_runs", "run_recipe_environment")
    with pytest.raises(RequestRefused, match="may not provision one"):
        request(
            remote.environment,
            "provision",
            source="admin",
            requested_by_name="only_deploys",
            user=deployer,
        )
    both = make_user("both", "run_recipe_environment", "change_server")
    request(remote.environment, "provision", source="admin", requested_by_name="both", user=both)
    assert Deployment.objects.get().requested_by == both


@pytest.mark.usefixtures("own_recipes")
def test_no_pipeline_takes_a_recipe_of_the_bootstrap_user() -> None:
    with pytest.raises(ValueError, match="can't take part in pipelines"):
        add_pipeline(Pipeline("all_of_it", "All", (Phase("first", "First", ("provision",)),)))
    with pytest.raises(ValueError, match="can't take part in pipelines"):

        @recipe("Tune", as_bootstrap=True, phase="prepare")
        def tune(host: Host, site: Site) -> None: ...


def test_the_setting_is_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="True or False"):
        OwnSettings(PROVISION="no")  # type: ignore[arg-type]


SITE = Site(
    environment="shop/production",
    deploy_path="/srv/shop",
    unit_prefix="shop-production",
    supervisor="systemd",
    reload=Reload("gunicorn"),
)


def test_sudo_allows_nothing_unless_it_is_needed() -> None:
    assert sudoers_text(replace(SITE, supervisor="auto"), "deploy") == ""
    assert sudoers_text(replace(SITE, supervisor="systemd-user"), "deploy") == ""
    assert sudoers_text(SITE, "root") == ""
    theirs = replace(SITE, supervisor="auto", reload=Reload("systemd", r"a\x2d:b@1.service"))
    assert sudoers_text(theirs, "deploy").splitlines()[1:] == [
        r"deploy ALL=(root) NOPASSWD: /usr/bin/systemctl reload-or-restart a\\x2d\:b@1.service"
    ]


def test_an_account_that_sudoers_takes_for_everybody_is_refused() -> None:
    with pytest.raises(DeployManagerError, match="takes ALL for an alias"):
        sudoers_text(SITE, "ALL")


def test_libraries_are_found_by_what_is_pinned() -> None:
    assert list(libraries_of({"psycopg", "django"})) == [(("libpq5",), "psycopg")]
    assert list(libraries_of({"psycopg", "psycopg-binary"})) == []
    assert list(libraries_of({"cairosvg", "pycairo"})) == [(("libcairo2",), "cairosvg")]
    assert all(name == name.lower() and "_" not in name for name in LIBRARIES)


def test_what_is_needed_is_printed_for_those_who_do_it_otherwise(
    remote: Inventory, settings: Settings
) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "PROVISION": False}
    Environment.objects.update(
        supervisor="systemd", reload_method="gunicorn", compile_messages=True
    )
    printed = call("provision", "production", "one", "--print")
    for line in (
        "account  deploy: with a home",
        "folder   /srv/shop: owned by deploy, mode 755",
        "package  gettext (translations are compiled by it)",
        "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl daemon-reload",
        "No pins can be read yet",
    ):
        assert line in printed
    assert all(line in printed for line in call("sudoers", "production").splitlines())
    assert '"linger": false' in call("provision", "production", "one", "--print", "--json")


def test_a_server_is_added_by_the_same_command(
    remote: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["provision", "production", "two", "--bootstrap-user", "root", "--add"]
    assert "Enter a host name" in call_and_be_refused(*words, "no host")
    assert "Enter a JSON" not in call_and_be_refused(*words, "127.0.0.1", "--port", "1")
    two = Placement.objects.get(server__name="two")
    assert (two.server.user, two.server.bootstrap_user, two.roles) == ("deploy", "root", ["app"])
    assert "has a server two already: leave out" in call_and_be_refused(*words, "127.0.0.1")
    two.delete()
    assert "add it to the environment" in call_and_be_refused(*words, "127.0.0.1")


def listed(client: Client) -> str:
    return client.get(url("server_changelist")).content.decode()


def test_the_admin_leads_from_servers_to_the_preview_and_from_there_on(
    remote: Inventory, settings: Settings
) -> None:
    owner, deployer = visitor("owner"), visitor("deployer")
    assert "Provision…" in listed(owner)
    assert "Provision…" not in listed(deployer)
    chosen = {"action": "provision_servers", "_selected_action": Server.objects.get().pk}
    page = owner.post(url("server_changelist"), chosen)
    assert page["Location"] == url(
        "environment_run", "preview_provision", on=remote.environment.pk, server="one"
    )
    assert "nothing is changed" in owner.get(page["Location"]).content.decode()

    done = write_deployment(remote.environment, recipe="preview_provision", state=State.SUCCEEDED)
    HostRun.objects.update(state=State.SUCCEEDED)
    there = url("deployment_change", done.pk)
    target = url("environment_run", "provision", on=remote.environment.pk, server="one")
    assert target.replace("&", "&amp;") in owner.get(there).content.decode()
    assert "Provision now" not in deployer.get(there).content.decode()

    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "PROVISION": False}
    assert "Provision…" not in listed(owner)
    assert "Provision now" not in owner.get(there).content.decode()


def test_the_site_that_deploys_has_no_files_in_the_home_of_root(remote: Inventory) -> None:
    assert Process.objects.count() == 0
    placement = remote.environment.placements.get()
    assert site_of(placement).tools_path == "/srv/shop/.deploy"
