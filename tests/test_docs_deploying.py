"""The pages on strategies, rollback and freezes can be followed, on a site with two releases."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.new_project import TOP, NewProject
from tests.parts.processes import running
from tests.parts.repository import Repository

MAKE_SITE = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository={repository!r})
environment = project.environments.create(
    name="production", deploy_path="/nowhere", installer="uv", reload_method="none", health_path="",
    variables=dict(ALLOWED_HOSTS="*", DATABASE_PATH={folder!r} + "/db", SECRET_KEY="for tests"),
)
for number, name in enumerate(("one", "two"), 1):
    server = Server.objects.create(name=name, connection="local")
    path = {folder!r} + "/" + name
    Placement.objects.create(
        environment=environment, server=server, order=number, own_deploy_path=path
    )
"""
CELERY = ("-m", "celery", "-A", "config", "worker", "--pool", "threads", "--loglevel", "info")


@pytest.fixture
def shop(new_project: NewProject, guestbook: Repository, tmp_path: Path) -> Iterator[NewProject]:
    """Its environment on two servers, deployed three times, and a worker."""
    (tmp_path / "sites").mkdir()
    rows = MAKE_SITE.format(repository=str(guestbook.path), folder=str(tmp_path / "sites"))
    new_project.run(sys.executable, "manage.py", "shell", "-c", rows)
    for colour in ("red", "green", "blue"):
        guestbook.commit(f"Paint it {colour}", {"colour": colour})
        new_project.run("fab", "production", "deploy")
    log = tmp_path / "worker.log"
    with running(
        [sys.executable, *CELERY],
        lambda: "ready." in log.read_text(errors="replace"),
        log,
        environment={**new_project.environment, "PYTHONPATH": str(new_project.folder)},
    ):
        yield new_project


def colours(sites: Path) -> list[str]:
    """What the servers serve."""
    return [(sites / name / "current/colour").read_text() for name in ("one", "two")]


@pytest.mark.long
def test_the_pages_can_be_followed(shop: NewProject, tmp_path: Path) -> None:
    assert colours(tmp_path / "sites") == ["blue", "blue"]
    rolled_back, releases, dry = shop.follow(TOP / "docs/roll-back.md")
    assert "succeeded" in rolled_back
    assert colours(tmp_path / "sites") == ["green", "green"]
    assert "Paint it red" in releases
    assert "Paint it red" in dry
    _, plan = shop.follow(TOP / "docs/choose-a-strategy.md")
    assert "waves    2: one | two" in plan
    frozen, thawed = shop.follow(TOP / "docs/freeze.md")
    assert "Sales until Monday" in frozen
    assert "is not frozen" in thawed
