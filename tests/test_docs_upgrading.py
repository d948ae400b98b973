"""The page on upgrades can be followed, on a site with two environments and an older Django."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.index import Index
from tests.parts.new_project import TOP, NewProject
from tests.parts.osv import OsvStub
from tests.parts.processes import running
from tests.parts.repository import Repository
from tests.test_docs_deploying import CELERY

MAKE_SITE = """
from deploy_manager.models import *
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.packages.pins import replace_pins
project = Project.objects.create(name="shop", repository={repository!r})
pins = complete_pins("django==5.2.7", index_url={index!r})
for name in ("staging", "production"):
    environment = project.environments.create(
        name=name, deploy_path={folder!r} + "/" + name, installer="uv", reload_method="none",
        health_path="", index_url={index!r}, pins_from="rows",
    )
    server = Server.objects.create(name=name, connection="local")
    Placement.objects.create(environment=environment, server=server)
    replace_pins(environment, pins)
"""


@pytest.fixture
def index(package_index: Index) -> Index:
    """Packages that are called Django, and are nothing."""
    for version in ("5.2.7", "5.2.8"):
        package_index.add("django", version)
    return package_index


@pytest.fixture
def shop(
    tmp_path: Path, new_project: NewProject, repository: Repository, index: Index, osv: OsvStub
) -> Iterator[NewProject]:
    """Both environments deployed as they were, and a worker."""
    repository.commit("Begin", {"manage.py": ""})
    project = new_project
    project.append("config/settings.py", f'DEPLOY_MANAGER["ADVISORIES"] = ["{osv.url}"]\n')
    rows = MAKE_SITE.format(
        repository=str(repository.path), index=index.url, folder=str(tmp_path / "sites")
    )
    project.run(sys.executable, "manage.py", "shell", "-v0", "-c", rows)
    project.run("fab", "staging", "deploy", "production", "deploy")
    log = tmp_path / "worker.log"
    with running(
        [sys.executable, *CELERY],
        lambda: "ready." in log.read_text(errors="replace"),
        log,
        environment={**project.environment, "PYTHONPATH": str(project.folder)},
    ):
        yield project


@pytest.mark.long
def test_the_page_can_be_followed(shop: NewProject, tmp_path: Path) -> None:
    text = (TOP / "docs/upgrade-a-library.md").read_text()
    assert "--soak 10m" in text
    page = tmp_path / "page.md"
    page.write_text(text.replace("--soak 10m", "--soak 1s"))
    who, known, planned, upgraded, by_fab, undone = shop.follow(page)
    assert [line.split()[:3] for line in who.splitlines()[1:]] == [
        ["shop/production", "production", "5.2.7"],
        ["shop/staging", "staging", "5.2.7"],
    ]
    assert "1 versions checked: no advisory is about any." in known
    assert "5.2.8" in planned
    assert "✓ shop/staging: succeeded" in upgraded
    assert "✓ shop/production: succeeded" in upgraded
    assert "shop/production: nothing to do." in by_fab
    assert "✓ shop/production: succeeded" in undone
    for name, version in (("staging", "5.2.8"), ("production", "5.2.7")):
        packages = (tmp_path / "sites" / name / "current/venv/lib").glob("python*/site-packages")
        assert (next(packages) / f"django-{version}.dist-info").is_dir()
