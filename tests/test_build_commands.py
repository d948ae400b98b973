"""Build commands: run in each new release before its static files are collected, and shown before.

Node is not needed: a script of the site writes what npm would.
"""

from pathlib import Path

import pytest
from django.test import Client

from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import CommandFailed
from deploy_manager.models import Deployment, Environment, LockFile, LogChunk, Release, State, Step
from deploy_manager.recipes import registry
from tests.commands import call, call_and_be_refused, events
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import make_user
from tests.parts.admin_run import run_page
from tests.parts.repository import Repository
from tests.recipe_site import CODE, RecipeSite

BUNDLE = """
import os, pathlib, sys
told = f"{os.environ['MOTTO']} by {sys.argv[1]}, release {os.environ['DEPLOY_RELEASE']}"
pathlib.Path("assets/bundle.js").write_text(told)
"""
DEPLOY_FILE = """build = ["$PYTHON tools/bundle.py $(command -v python)"]\n"""


@pytest.fixture
def shop(repository: Repository, django_lock: str, tmp_path: Path, db: None) -> Inventory:
    """A site whose static files are not all in its repository, on servers `one` and `two`."""
    files = {
        **CODE,
        "requirements.txt": django_lock,
        "tools/bundle.py": BUNDLE,
        "deploy.toml": DEPLOY_FILE,
    }
    repository.commit("Open the shop", files)
    made = make_inventory(tmp_path / "sites", str(repository.path))
    made.folder.mkdir()
    made.add_server("one")
    made.add_server("two")
    Environment.objects.update(
        installer="uv",
        migrate="never",
        shared=["shared"],
        variables={"STATIC_ROOT": "collected", "MOTTO": "built"},
        build_commands=["cat assets/bundle.js >>assets/log.txt"],
    )
    made.environment.refresh_from_db()
    return made


def carry_out(shop: Inventory, recipe: str, **options: object) -> Deployment:
    deployment = request(
        shop.environment,
        recipe,
        source="manage.py",
        requested_by_name="me@here",
        options=DeploymentOptions(**options),  # type: ignore[arg-type]
    )
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def served(shop: Inventory, server: str) -> tuple[str, str]:
    """The bundle and the log of a site, as its web server has them; and its release."""
    site = shop.folder / server / "current"
    told = (site / "collected/bundle.js").read_text()
    assert (site / "collected/log.txt").read_text() == told
    return told, site.resolve().name


@pytest.mark.django_db(transaction=True)
def test_all_that_makes_a_release_builds_it(shop: Inventory, repository: Repository) -> None:
    first = carry_out(shop, "deploy", servers=["one"])
    assert first.state == State.SUCCEEDED, first.message
    told, name = served(shop, "one")
    assert told == f"built by {shop.folder}/one/releases/{name}/venv/bin/python, release {name}"
    assert first.release is not None
    assert first.release.build == ["$PYTHON tools/bundle.py $(command -v python)"]

    # What the branch says by now is for later releases.
    repository.commit("Build otherwise", {"deploy.toml": 'build = ["false"]\n'})
    converged = carry_out(shop, "converge", servers=["two"], release=first.release)
    assert converged.state == State.SUCCEEDED, converged.message
    assert served(shop, "two")[1] == name

    before = first.release

    def made_again() -> Release:
        commit, lock = before.commit, before.lock
        return Release.objects.make(shop.environment, commit, "", lock, build=before.build)

    newer = made_again()
    upgraded = carry_out(shop, "upgrade", servers=["one"], release=newer)
    assert upgraded.state == State.SUCCEEDED, upgraded.message
    told, name = served(shop, "one")
    assert name == newer.name
    assert told.endswith(f"release {newer.name}")

    Environment.objects.update(build_commands=["echo no room left >&2; exit 4"])
    shop.environment.refresh_from_db()
    failed = carry_out(shop, "upgrade", servers=["one"], release=made_again())
    step = Step.objects.get(host_run__deployment=failed, recipe="build")
    assert (failed.state, step.state, step.exit_code) == (State.FAILED, State.FAILED, 4)
    log = b"".join(LogChunk.objects.filter(step=step).values_list("data", flat=True))
    assert b"no room left" in log
    assert served(shop, "one")[1] == newer.name


@pytest.mark.django_db(transaction=True)
def test_an_unusable_deploy_file_is_refused_before_any_server(
    shop: Inventory, repository: Repository
) -> None:
    deployment = shop.request()
    repository.commit("Misspell", {"deploy.toml": "bulid = []\n"})
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert deployment.message == (
        "deploy.toml of the commit: 'bulid' is not known. What may stand there: build."
        " No server was touched."
    )
    assert not list((shop.folder / "one").iterdir())
    assert "'bulid' is not known" in call_and_be_refused("deploy", "production")


def test_the_plan_shows_what_is_built(shop: Inventory) -> None:
    both = ("$PYTHON tools/bundle.py $(command -v python)", "cat assets/bundle.js >>assets/log.txt")
    assert make_plan(shop.environment).build == both
    assert make_plan(shop.environment, "collect_static").build == ()

    printed = call("deploy", "production", "--dry-run")
    assert f"  build    {both[0]}\n           {both[1]}\n" in printed
    assert "[one] Build\n" in printed
    assert "tools/bundle.py" in printed.partition("[one] Build\n")[2]
    plan = events(call("deploy", "production", "--dry-run", "--json"))[0]
    assert plan["build"] == list(both)


def test_the_plan_of_a_release_that_is_known_shows_its_own(shop: Inventory) -> None:
    environment = shop.environment
    lock = LockFile.objects.of("d" * 64, "")
    release = Release.objects.make(environment, "c" * 40, "", lock, build=["make assets"])
    plan = make_plan(environment, "converge", release=release)
    assert plan.build == ("make assets", "cat assets/bundle.js >>assets/log.txt")
    assert make_plan(environment, "rollback", release=release).build == ()


def test_plans_name_what_is_missing_as_its_module_is_broken(
    shop: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._broken, "shop.recipes", "ImportError: no <b>npm</b>")
    told = "shop.recipes can't be imported, so what it adds is missing: ImportError: no "
    assert f"{told}<b>npm</b>" in " ".join(call("deploy", "production", "--dry-run").split())
    assert make_plan(shop.environment, "collect_static").broken == {}
    client = Client()
    client.force_login(make_user("ana", superuser=True))
    page = client.get(run_page(shop, "deploy")).content.decode()
    assert f"{told}&lt;b&gt;npm&lt;/b&gt;" in page


def test_the_page_that_confirms_shows_what_is_built(shop: Inventory) -> None:
    Environment.objects.update(build_commands=["echo '<script>'"])
    client = Client()
    client.force_login(make_user("ana", superuser=True))
    page = client.get(run_page(shop, "deploy")).content.decode()
    assert "<h3>Build commands</h3>" in page
    assert "$PYTHON tools/bundle.py" in page
    assert "echo &#x27;&lt;script&gt;&#x27;" in page


@pytest.fixture
def built(recipe_site: RecipeSite) -> RecipeSite:
    """A release without a virtual environment."""
    recipe_site.run("checkout_latest")
    return recipe_site


def test_downloads_outlive_releases_unless_the_site_keeps_them_elsewhere(
    built: RecipeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    built.use(
        build_commands=('echo "$XDG_CACHE_HOME $npm_config_cache" && test -d "$XDG_CACHE_HOME"',)
    )
    cache = f"{built.site.deploy_path}/.deploy/cache"
    assert f"\n{cache} {cache}/npm\n" in built.run("build")
    built.new_release("r2", CODE)
    built.use(variables={"npm_config_cache": "/var/cache/my npm"})
    built.run("checkout_latest")
    assert f"\n{cache} /var/cache/my npm\n" in built.run("build")


def test_the_first_command_that_fails_is_the_last(built: RecipeSite) -> None:
    built.use(build_commands=("echo first", "exit 3", "echo third"))
    with pytest.raises(CommandFailed) as failed:
        built.run("build")
    assert failed.value.exit_code == 3
    assert b"\nfirst\n" in built.printed
    assert b"\nthird\n" not in built.printed


def test_a_site_without_build_commands_says_so(built: RecipeSite) -> None:
    assert "There is nothing to build" in built.run("build")


def test_programs_of_the_virtual_environment_come_first(built: RecipeSite) -> None:
    tool = Path(built.site.release_path, "venv/bin/ls")
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho ours\n")
    tool.chmod(0o755)
    built.use(build_commands=("ls",))
    assert "\nours\n" in built.run("build")
