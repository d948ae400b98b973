"""The page on uploads and databases can be followed, on a site with a backup."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.parts.new_project import TOP, NewProject
from tests.parts.processes import running
from tests.parts.repository import Repository
from tests.test_docs_deploying import CELERY

MAKE_SITE = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository={repository!r})
environment = project.environments.create(
    name="production", deploy_path={folder!r}, installer="uv", reload_method="none", health_path="",
    variables=dict(ALLOWED_HOSTS="*", SECRET_KEY="for tests"), keep_backups=1,
)
server = Server.objects.create(name="one", connection="local")
Placement.objects.create(environment=environment, server=server)
"""
SHARE = """
from deploy_manager.models import *
Environment.objects.update(shared=["guestbook.sqlite3"])
"""
MIGRATION = """
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("guestbook", "0001_initial")]
    operations = [migrations.CreateModel("Price", [("id", models.BigAutoField(primary_key=True))])]
"""


@pytest.fixture
def shop(new_project: NewProject, guestbook: Repository, tmp_path: Path) -> Iterator[NewProject]:
    """Its environment on one server, never deployed, and a worker."""
    (tmp_path / "site").mkdir()
    rows = MAKE_SITE.format(repository=str(guestbook.path), folder=str(tmp_path / "site"))
    new_project.run(sys.executable, "manage.py", "shell", "-c", rows)
    log = tmp_path / "worker.log"
    with running(
        [sys.executable, *CELERY],
        lambda: "ready." in log.read_text(errors="replace"),
        log,
        environment={**new_project.environment, "PYTHONPATH": str(new_project.folder)},
    ):
        yield new_project


def tables(site: Path) -> set[str]:
    with closing(sqlite3.connect(site / "shared/guestbook.sqlite3")) as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'guestbook_%'")
        return {name for (name,) in rows}


@pytest.mark.long
def test_the_page_on_data_can_be_followed(
    shop: NewProject, guestbook: Repository, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=r'Add \\"guestbook.sqlite3\\" to the environment'):
        shop.type("manage.py deploy production --json")
    shop.run(sys.executable, "manage.py", "shell", "-c", SHARE)
    shop.type("manage.py deploy production")
    before = tables(tmp_path / "site")
    guestbook.commit("Keep prices", {"guestbook/migrations/0002_price.py": MIGRATION})
    deployed = shop.type("manage.py deploy production")
    assert "New migrations: guestbook.0002_price; databases: default" in deployed
    assert tables(tmp_path / "site") == {*before, "guestbook_price"}

    up, restored, back, down = shop.follow(TOP / "docs/where-data-lives.md")
    assert "default is replaced by" in restored
    assert all("succeeded" in printed for printed in (up, restored, back, down))
    assert tables(tmp_path / "site") == before
    assert not (tmp_path / "site/current/guestbook/migrations/0002_price.py").exists()
