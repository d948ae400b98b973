"""What the pages tell a user to write and type works, in a new Django project."""

import re
import sys
from pathlib import Path

import pytest

from tests.parts.new_project import FENCE, NewProject

TOP = Path(__file__).parent.parent
MAKE_INVENTORY = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository="/srv/shop.git")
environment = project.environments.create(name="production", deploy_path="/srv/shop")
server = Server.objects.create(name="one", connection="local")
Placement.objects.create(environment=environment, server=server)
"""
TELL_STEPS = """
from deploy_manager.recipes import get_pipeline
print(*(recipe.name for recipe in get_pipeline("upgrade").without(["compile_messages"]).recipes))
"""
TELL_TASKS = """
from celery import current_app
current_app.loader.import_default_modules()
print(current_app.conf.broker_url, "knows", *sorted(current_app.tasks, reverse=True))
"""


def test_the_page_on_adding_it_to_a_project_can_be_followed(
    followed_once: tuple[NewProject, list[str]], new_project: NewProject
) -> None:
    _project, printed = followed_once
    assert "no issues" in printed[-1]
    assert "deploy" in new_project.run("fab", "--list")


@pytest.mark.long
def test_the_page_on_writing_a_recipe_can_be_followed(new_project: NewProject) -> None:
    new_project.run(sys.executable, "manage.py", "startapp", "shop")
    new_project.append("config/settings.py", 'INSTALLED_APPS += ["shop"]\n')
    new_project.run(sys.executable, "manage.py", "shell", "-c", MAKE_INVENTORY)
    listed = new_project.follow(TOP / "docs/write-a-recipe.md")
    assert len(listed) == 2
    assert all("warm_cache" in text for text in listed)
    assert "deploy_and_warm" in new_project.run("fab", "--list")
    told = new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", TELL_STEPS)
    assert "collect_static build_index check" in told


def test_the_lines_of_the_readme_are_all_it_takes(tmp_path: Path, redis_url: str) -> None:
    project = NewProject(tmp_path, redis_url)
    project.run(sys.executable, "-m", "django", "startproject", "config", ".")
    text = (TOP / "README.md").read_text()
    block = next(found["text"] for found in FENCE.finditer(text) if found["language"] == "python")
    parts = re.split(r"^# (\S+\.py)\n", block, flags=re.M)[1:]
    for file, lines in zip(parts[::2], parts[1::2], strict=True):
        project.append(file, lines)
    project.run(sys.executable, "manage.py", "migrate")
    told = project.run(sys.executable, "manage.py", "shell", "-v0", "-c", TELL_TASKS)
    broker, _, known = told.partition(" knows ")
    assert broker.endswith(redis_url)
    assert {"deploy_manager.reconcile", "deploy_manager.run_shard"} <= set(known.split())


@pytest.mark.parametrize("page", sorted([*TOP.glob("*.md"), *TOP.glob("docs/*.md")]), ids=str)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_architecture_page_stays_short() -> None:
    assert len((TOP / "docs/architecture.md").read_text().splitlines()) < 100
