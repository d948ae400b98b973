"""The page on requirements files can be followed."""

import sys

import pytest

from tests.parts.index import Index
from tests.parts.new_project import TOP, NewProject
from tests.test_docs import MAKE_INVENTORY

FILES = {
    "requirements.txt": "-r base.txt\n-c bounds.txt\nshopcore\n",
    "base.txt": "shopkit==1.0\n",
    "bounds.txt": "shopcore==2.0\n",
    "other.txt": "shopkit==1.1\n-e git+https://host.test/a.git#egg=a\n",
    "pyproject.toml": """[project]
name = "shop"
dependencies = ["shopkit"]
[project.optional-dependencies]
fast = ["fastlib"]
""",
}


@pytest.mark.long
def test_the_page_can_be_followed(new_project: NewProject, package_index: Index) -> None:
    for name, version in (("shopcore", "2.0"), ("shopkit", "1.1"), ("fastlib", "3")):
        package_index.add(name, version)
    project = new_project
    rows = MAKE_INVENTORY + f"environment.index_url = {package_index.url!r}; environment.save()"
    project.run(sys.executable, "manage.py", "shell", "-v0", "-c", rows)
    for name, text in FILES.items():
        (project.folder / name).write_text(text)
    page = (TOP / "docs/read-requirements.md").read_text()
    used, locked, rest = project.follow_text(page.partition("## Take the pins")[0])
    assert "2 pins, 2 changed." in used
    assert "fastlib" in locked
    assert "Left out: other.txt, line 2: " in rest
    project.type("manage.py import_requirements production pyproject.toml --lock")
    project.follow_text(page.partition("## Take the pins")[2])
    assert "shopkit==1.1" in (project.folder / "pins.txt").read_text()
    assert 'name = "shopkit"' in (project.folder / "pylock.toml").read_text()
