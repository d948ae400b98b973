"""The page on build steps can be followed, on a site that builds something and serves."""

import tomllib
from pathlib import Path

import pytest

from deploy_manager.deployments.deploy_file import KNOWN, read_build_commands
from tests.parts.new_project import FENCE, TOP, NewProject
from tests.parts.repository import Repository
from tests.test_docs_deploying import shop

__all__ = ["shop"]

PAGE = TOP / "docs/build-steps.md"
BUILD = 'build = ["mkdir -p guestbook/static && echo built >guestbook/static/bundle.js"]\n'


def test_the_files_on_the_page_are_understood() -> None:
    blocks = [
        found["text"] for found in FENCE.finditer(PAGE.read_text()) if found["language"] == "toml"
    ]
    assert len(blocks) == 2
    for text in blocks:
        name = text.partition("\n")[0].removeprefix("# ")
        assert read_build_commands({name: text.encode()}.get, "")[0].startswith("npm ci")
        assert tomllib.loads(text)


def test_the_reference_has_every_key() -> None:
    reference = PAGE.read_text().partition("## Reference of deploy.toml")[2].partition("\n## ")[0]
    keys = [line.split("`")[1] for line in reference.splitlines() if line.startswith("| `")]
    assert keys == list(KNOWN)


@pytest.mark.long
def test_the_page_can_be_followed(shop: NewProject, guestbook: Repository, tmp_path: Path) -> None:
    guestbook.commit("Build a bundle", {"deploy.toml": BUILD})
    planned, checked = shop.follow(PAGE)
    assert "build    mkdir -p guestbook/static" in planned
    assert "System check identified no issues" in checked
    shop.type("manage.py deploy production")
    for server in ("one", "two"):
        collected = tmp_path / "sites" / server / "current/collected"
        assert (collected / "bundle.js").read_text() == "built\n"
