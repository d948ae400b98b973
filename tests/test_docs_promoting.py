"""The page on promotion can be followed, on a site that is deployed twice."""

import sys
from pathlib import Path

import pytest

from tests.parts.new_project import TOP, NewProject
from tests.parts.repository import Repository
from tests.test_docs_deploying import colours, shop

__all__ = ["shop"]

MAKE_STAGING = """
from deploy_manager.models import *
production = Environment.objects.get()
server = Server.objects.create(name="stage", connection="local")
staging = Environment.objects.create(
    project=production.project, name="staging", deploy_path="/nowhere", installer="uv",
    reload_method="none", health_path="",
    variables={{**production.variables, "DATABASE_PATH": "{path}.db"}},
)
staging.placements.create(server=server, own_deploy_path="{path}")
"""


@pytest.mark.long
def test_the_page_can_be_followed(shop: NewProject, guestbook: Repository, tmp_path: Path) -> None:
    rows = MAKE_STAGING.format(path=tmp_path / "sites/stage")
    shop.run(sys.executable, "manage.py", "shell", "-v0", "-c", rows)
    guestbook.commit("Paint it grey", {"colour": "grey"})
    shop.run("fab", "staging", "deploy")
    guestbook.commit("Paint it white", {"colour": "white"})
    _, dry, promoted = shop.follow(TOP / "docs/promote.md")
    assert "of shop/staging: Paint it grey" in dry
    assert "succeeded" in promoted
    assert colours(tmp_path / "sites") == ["grey", "grey"]
