"""Every process of a site runs with one settings module, or nothing is deployed."""

import pytest
from django.core.exceptions import ValidationError

from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.prepare import prepare
from deploy_manager.deployments.request import request
from deploy_manager.deployments.run import run_shard
from deploy_manager.exceptions import CodeError
from deploy_manager.git.settings_modules import read_entrance
from deploy_manager.models import Environment, LockFile, Release, State
from deploy_manager.recipes.serving import reload
from tests.inventory import Inventory, claim, make_inventory
from tests.parts.repository import Repository
from tests.parts.served import Served

BY_DEFAULT = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}")\n'
FORCED = 'import os\nos.environ["DJANGO_SETTINGS_MODULE"] = "{}"\n'
FILES = {
    "manage.py": BY_DEFAULT.format("shop.settings.local"),
    "shop/wsgi.py": BY_DEFAULT.format("shop.settings.production"),
    "requirements.txt": "django==5.2.8\n",
}
Method = Environment.ReloadMethod


@pytest.fixture
def shop(repository: Repository, db: None) -> Inventory:
    """A site as a common template of projects makes it, on one server, never deployed."""
    repository.commit("Open the shop", FILES)
    made = make_inventory(repository.path.parent / "sites", str(repository.path))
    made.folder.mkdir()
    made.add_server("one")
    return made


def problem(shop: Inventory, **changes: object) -> str:
    """Return what a plan says against it; blank: nothing."""
    for name, value in changes.items():
        setattr(shop.environment, name, value)
    return "\n".join(make_plan(shop.environment).problems)


def test_files_that_name_different_settings_are_all_shown_with_what_to_do(shop: Inventory) -> None:
    said = problem(shop)
    assert "manage.py (shop.settings.local), shop/wsgi.py (shop.settings.production)" in said
    assert "enter one as the environment's settings module" in said


@pytest.mark.workers
@pytest.mark.django_db(transaction=True)
def test_a_deployment_ends_before_any_server_is_touched(shop: Inventory) -> None:
    deployment = shop.request("deploy")
    run_shard(deployment.shards.get().pk, lambda pk: None)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert "shop.settings.production" in str(deployment.message)
    assert not any((shop.folder / "one").iterdir())


def test_a_release_that_was_made_before_is_not_sent_on_either(
    shop: Inventory, repository: Repository
) -> None:
    lock = LockFile.objects.of("a" * 64, "django==5.2.8\n")
    release = Release.objects.make(shop.environment, repository.head, "", lock)
    deployment = request(
        shop.environment, "upgrade", source="manage.py", requested_by_name="me", release=release
    )
    with pytest.raises(CodeError, match="has several settings modules"):
        prepare(claim(deployment))


@pytest.mark.parametrize(
    "named",
    [
        {"settings_module": "shop.settings.production"},
        {"variables": {"DJANGO_SETTINGS_MODULE": "shop.settings.production"}},
    ],
    ids=str,
)
def test_one_that_the_environment_names_is_for_all(
    shop: Inventory, named: dict[str, object]
) -> None:
    assert problem(shop, **named) == ""


def test_where_all_name_the_same_nothing_needs_to_be_entered(
    shop: Inventory, repository: Repository
) -> None:
    same = BY_DEFAULT.format("shop.settings.local")
    repository.commit("Agree", {"shop/wsgi.py": same, "shop/asgi.py": same, "shop/celery.py": same})
    assert problem(shop) == ""


@pytest.mark.parametrize("path", ["shop/asgi.py", "shop/celery.py", "src/a/b/wsgi.py"])
def test_whatever_a_process_begins_with_counts(
    shop: Inventory, repository: Repository, path: str
) -> None:
    same = BY_DEFAULT.format("shop.settings.local")
    other = BY_DEFAULT.format("shop.settings.other")
    repository.commit("Add a process", {"shop/wsgi.py": same, path: other})
    assert f"{path} (shop.settings.other)" in problem(shop)


def test_other_projects_tests_and_environments_do_not_count(
    shop: Inventory, repository: Repository
) -> None:
    other = BY_DEFAULT.format("other")
    paths = [
        *("examples/blog/manage.py", "examples/blog/blog/wsgi.py", "tests/wsgi.py"),
        *(".tox/wsgi.py", "venv/lib/wsgi.py", "a/b/c/d/e/wsgi.py", "shop/wsgi.py.txt"),
    ]
    same = {"shop/wsgi.py": BY_DEFAULT.format("shop.settings.local")}
    repository.commit("Keep more", same | dict.fromkeys(paths, other))
    assert problem(shop) == ""


def test_a_project_below_the_top_is_looked_at_alone(
    shop: Inventory, repository: Repository
) -> None:
    moved = {f"site/{path}": text for path, text in FILES.items()}
    repository.commit("Add a site", {**moved, "site/requirements.txt": "django==5.2.8\n"})
    project = shop.environment.project
    project.folder, project.requirements_file = "site", "site/requirements.txt"
    assert "site/manage.py (shop.settings.local), site/shop/wsgi.py" in problem(shop)


def test_a_file_that_replaces_the_environments_module_is_refused(
    shop: Inventory, repository: Repository
) -> None:
    repository.commit("Force it", {"shop/wsgi.py": FORCED.format("shop.settings.production")})
    said = problem(shop, settings_module="shop.settings.local")
    assert "shop/wsgi.py of commit" in said
    assert "use os.environ.setdefault there" in said
    assert problem(shop, settings_module="shop.settings.production") == ""


@pytest.mark.parametrize(
    ("method", "target"), [(Method.TOUCH, "shop/wsgi.py"), (Method.PASSENGER, "")]
)
def test_what_a_web_server_starts_has_to_name_the_environments_module_itself(
    shop: Inventory, repository: Repository, method: str, target: str
) -> None:
    changes = {"reload_method": method, "reload_target": target}
    said = problem(shop, settings_module="shop.settings.local", **changes)
    assert "shop/wsgi.py" in said
    assert "the web server starts it without the environment's" in said
    assert problem(shop, settings_module="shop.settings.production") == ""
    reading = "# reads /srv/shop/.deploy/environment\n" + FILES["shop/wsgi.py"]
    repository.commit("Read the variables", {"shop/wsgi.py": reading})
    assert problem(shop, settings_module="shop.settings.local") == ""


def test_two_fields_that_contradict_each_other_are_refused(shop: Inventory) -> None:
    site = shop.environment
    site.settings_module, site.variables = "one", {"DJANGO_SETTINGS_MODULE": "other"}
    with pytest.raises(ValidationError, match="have another DJANGO_SETTINGS_MODULE"):
        site.clean()


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'a.b')", ("a.b",)),
        ("environ.setdefault(\n  'DJANGO_SETTINGS_MODULE',\n  'a')", ("a",)),
        ("NAME = 'a'\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', NAME)", ("a",)),
        ("KEY = 'DJANGO_SETTINGS_MODULE'\nos.environ[KEY] = 'a'", ("a",)),
        ("os.environ.update({'DJANGO_SETTINGS_MODULE': 'a'}, **more)", ("a",)),
        ("os.environ.update(DJANGO_SETTINGS_MODULE='a')", ("a",)),
        ("if x:\n  environ.setdefault('DJANGO_SETTINGS_MODULE', 'a')\nelse:\n"
         "  environ.setdefault('DJANGO_SETTINGS_MODULE', 'b')", ("a", "b")),
        ("# os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'a')", ()),
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', choose())", ()),
        ("os.environ.setdefault('OTHER', 'a')", ()),
        ("cache.setdefault('DJANGO_SETTINGS_MODULE', 'a')", ()),
        ("this is not Python", ()),
        ("(" * 5000, ()),
        ("\0", ()),
    ],
)  # fmt: skip
def test_a_file_is_read_as_text_and_never_run(text: str, modules: tuple[str, ...]) -> None:
    assert read_entrance("manage.py", text).modules == modules


def test_the_environments_module_reaches_gunicorn_whatever_wsgi_py_names(served: Served) -> None:
    code = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.local")
def application(environ, start_response):
    start_response("200 OK", [])
    return [os.environ["DJANGO_SETTINGS_MODULE"].encode()]
"""
    served.release("r1", code, DJANGO_SETTINGS_MODULE="shop.settings.production")
    reload(served.host, served.site)
    assert served.ask().text == "shop.settings.production"
