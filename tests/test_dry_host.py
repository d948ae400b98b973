"""A host that touches nothing: every recipe tells what it would do, and always the same."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.hosts.dry import DryHost
from deploy_manager.recipes import (
    HealthCheck,
    Host,
    Reload,
    Result,
    Site,
    all_pipelines,
    deploy_pipeline,
    get_recipe,
    load_recipes,
)
from deploy_manager.recipes.serving import METHODS
from tests.parts.matrices import few

SECRET = "s3cret-of-the-site"
TELL_ALL = """
import sys, django
django.setup()
from pathlib import Path
from tests.test_dry_host import made_site, told_by_all
print("\\n".join(told_by_all(made_site(Path(sys.argv[1])))))
"""


def made_site(folder: Path) -> Site:
    """A site with everything set; only the archive and the cache are of this machine."""
    archive = folder / "r1.tar.gz"
    archive.write_bytes(b"code")
    return Site(
        environment="shop/production",
        deploy_path="/srv/no such path",
        roles=frozenset({"app", "worker", "static"}),
        release="r1",
        commit="c" * 40,
        archive=archive,
        folder="src",
        lock="asgiref==3.8.1\n",
        lock_digest="d" * 64,
        index_url="https://index.example.org/simple",
        settings_module="shop.settings",
        variables={"SECRET_KEY": SECRET, "MOTTO": "fresh"},
        shared=("media", "var"),
        build_commands=("npm ci", "npm run build"),
        smoke_command="$PYTHON manage.py test shop.smoke",
        arguments=("clearsessions", "--verbosity", "2"),
        reload=Reload("gunicorn", target="shop/wsgi.py", bind="127.0.0.1:8001"),
        health=HealthCheck(url="http://127.0.0.1:8001/"),
        keep=frozenset({"r0", "r2", "r3"}),
        forced_migrations=frozenset({"shop.0001_first", "shop.0002_more"}),
        cache=folder / "cache",
    )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return made_site(tmp_path)


@pytest.fixture
def told() -> list[str]:
    return []


def told_by(recipe: str, site: Site) -> list[str]:
    told: list[str] = []
    get_recipe(recipe).function(DryHost("one", told.append), site)
    return told


def own_recipes() -> list[str]:
    """The recipes that come with the app, in the order of its pipelines."""
    load_recipes()
    names = (recipe.name for pipeline in all_pipelines() for recipe in pipeline.recipes)
    module = "deploy_manager.recipes."
    own = [name for name in names if get_recipe(name).function.__module__.startswith(module)]
    return list(dict.fromkeys(own))


def told_by_all(site: Site) -> list[str]:
    return [line for name in own_recipes() for line in told_by(name, site)]


def test_a_command_is_reported_with_its_folder_and_its_input(told: list[str]) -> None:
    host = DryHost("one", told.append)
    with host.cd("/srv/my shop"), host.cd("src"):
        host.run(["cat", "a b"], stdin=b"12345")
    host.run("df -h | tail", quiet=True)
    host.say("Done.")
    assert told == [
        "$ cd '/srv/my shop/src' && cat 'a b'  # 5 bytes on standard input",
        "$ df -h | tail",
        "# Done.",
    ]


def test_a_file_is_reported_by_its_size_alone(told: list[str], tmp_path: Path) -> None:
    host = DryHost("one", told.append)
    file = tmp_path / "file"
    file.write_bytes(b"1234567")
    host.put(SECRET.encode(), "/srv/.env", mode=0o600)
    with host.cd("/srv"):
        host.put(file, "tool")
    assert told == [
        f"put {len(SECRET)} bytes -> /srv/.env (mode 600)",
        "put 7 bytes -> /srv/tool (mode 644)",
    ]


def test_a_command_ends_as_the_recipe_assumes(told: list[str]) -> None:
    host: Host = DryHost("one", told.append)
    assert host.run("true") == Result(0, "", "")
    assert host.run("test -e it", check=False, assume=1).exit_code == 1
    supposed = Result(0, "3.11\n", "")
    assert host.run("python3 --version", assume=supposed) is supposed


def test_passwords_in_urls_are_masked_as_in_a_log(told: list[str]) -> None:
    DryHost("one", told.append).run("curl https://me:pass@example.org/")
    assert told == ["$ curl https://[masked]@example.org/"]


def test_every_recipe_goes_through_touches_nothing_and_shows_no_secret(site: Site) -> None:
    told = "\n".join(told_by_all(site))
    assert SECRET not in told
    assert "fresh" not in told
    assert not Path(site.deploy_path).exists()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("installer", few("pip", "uv"))
def test_every_way_to_install_and_to_reload_goes_through(
    site: Site, method: str, installer: str
) -> None:
    site = replace(site, reload=replace(site.reload, method=method), installer=installer)
    told_by_all(site)


def test_a_first_deployment_is_shown_whole(site: Site) -> None:
    recipes = [recipe.name for recipe in deploy_pipeline("before").recipes]
    told = "\n".join(line for name in recipes for line in told_by(name, site))
    for part in ("r1.tar.gz", "unpack-", "virtualenv-", "pip --no-input", "collectstatic.py"):
        assert part in told
    for part in ("migrate --plan", "migrate --noinput", "mv -fT", "processes-"):
        assert part in told
    assert "already" not in told


class ContraryHost(DryHost):
    """Answers each question of a recipe the other way round."""

    def run(self, *args: Any, **options: Any) -> Result:
        result = super().run(*args, **options)
        return replace(result, exit_code=1 - result.exit_code) if "check" in options else result


@pytest.mark.parametrize("kind", [DryHost, ContraryHost])
def test_the_same_answers_lead_to_the_same_commands(site: Site, kind: type[DryHost]) -> None:
    def go_through(name: str) -> list[str]:
        told: list[str] = []
        try:
            get_recipe(name).function(kind("one", told.append), site)
        except Exception as error:
            told.append(str(error))
        return told

    for name in own_recipes():
        assert go_through(name) == go_through(name)


def test_another_process_runs_the_same_commands(site: Site) -> None:
    """Names in sets come in another order there."""
    assert site.archive is not None

    def told_by_process(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()}
        environment["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        command = [sys.executable, "-c", TELL_ALL, str(site.cache.parent)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert told_by_process("1") == told_by_process("2")
