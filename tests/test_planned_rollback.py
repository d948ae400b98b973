"""The built-in pipelines on two servers: deploy, make another like it, deploy again, go back."""

import os
import sqlite3
from pathlib import Path

import pytest

from deploy_manager.deployments.choices import choose_release, converge
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, Environment, State
from tests.inventory import Inventory
from tests.parts.repository import Repository
from tests.recipe_site import CODE

pytestmark = pytest.mark.django_db(transaction=True)

PINS = "asgiref==3.8.1\ndjango==5.2.8\nsqlparse==0.5.3\n"
SETTINGS = CODE["shop_settings.py"].replace('BASE / "shared/db.sqlite3"', 'os.environ["DATABASE"]')
MIGRATION = """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = {depends!r}
    operations = [migrations.CreateModel("{name}", [("id", models.AutoField(primary_key=True))])]
"""
FIRST = MIGRATION.format(depends=[], name="First")
SECOND = MIGRATION.format(depends=[("shop", "0001_first")], name="Second")


@pytest.fixture
def shop(inventory: Inventory, repository: Repository) -> Inventory:
    """A Django project with one migration, and one server."""
    settings = SETTINGS.replace("INSTALLED_APPS = [", 'INSTALLED_APPS = ["shop", ')
    app = {"shop/__init__.py": "", "shop/migrations/__init__.py": ""}
    files = {**CODE, "shop_settings.py": settings, "requirements.txt": PINS, **app}
    repository.commit("Open", {**files, "shop/migrations/0001_first.py": FIRST})
    project, environment = inventory.environment.project, inventory.environment
    project.repository = str(repository.path)
    project.save()
    environment.installer = Environment.Installer.UV
    environment.variables = {"DATABASE": str(inventory.folder / "db.sqlite3")}
    environment.save()
    return inventory


def run_through(
    shop: Inventory, recipe: str, options: DeploymentOptions | None = None
) -> Deployment:
    """Run a pipeline to its end."""
    deployment = request(
        shop.environment, recipe, source="manage.py", requested_by_name="me@here", options=options
    )
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def current(shop: Inventory, server: str) -> str:
    return Path(os.readlink(shop.folder / server / "current")).name


def applied(shop: Inventory) -> list[str]:
    database = sqlite3.connect(shop.folder / "db.sqlite3")
    rows = database.execute("SELECT name FROM django_migrations WHERE app = 'shop'").fetchall()
    database.close()
    return sorted(name for (name,) in rows)


@pytest.mark.long
def test_a_server_is_made_like_the_others_and_all_go_back_with_their_database(
    shop: Inventory, repository: Repository
) -> None:
    first = run_through(shop, "deploy")
    assert (first.state, first.message) == (State.SUCCEEDED, "")
    shop.add_server("two")
    repository.commit("Grow", {"shop/migrations/0002_second.py": SECOND})

    joined = run_through(shop, "converge", converge(shop.environment, ["two"]))
    assert (joined.state, joined.message) == (State.SUCCEEDED, "")
    assert current(shop, "two") == current(shop, "one")

    second = run_through(shop, "deploy")
    assert (second.state, second.message) == (State.SUCCEEDED, "")
    assert applied(shop) == ["0001_first", "0002_second"]

    release = choose_release(shop.environment)
    back = run_through(shop, "rollback", DeploymentOptions(release=release))
    assert (back.state, back.message) == (State.SUCCEEDED, "")
    assert first.release == release
    assert [current(shop, server) for server in ("one", "two")] == [release.name] * 2
    assert applied(shop) == ["0001_first"]
