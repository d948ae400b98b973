"""What the pages tell a user to write and type works, in a new Django project."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
FENCE = re.compile(
    r"^```(?P<language>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.M | re.S
)
MAKE_INVENTORY = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository="/srv/shop.git")
environment = project.environments.create(name="production", deploy_path="/srv/shop")
server = Server.objects.create(name="one", connection="local")
Placement.objects.create(environment=environment, server=server)
"""
TELL_TASKS = """
from celery import current_app
current_app.loader.import_default_modules()
print(current_app.conf.broker_url, "knows", *sorted(current_app.tasks, reverse=True))
"""


@dataclass(frozen=True)
class NewProject:
    """A project as `django-admin startproject config .` makes it."""

    folder: Path
    broker: str

    def run(self, *command: str) -> str:
        """Run a command of the project and return what it printed; fails where it does."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("DJANGO_")}
        tools = str(Path(sys.executable).parent)
        return {**kept, "PATH": f"{tools}{os.pathsep}{kept['PATH']}", "COLUMNS": "100"}

    def append(self, file: str, text: str) -> None:
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        text = text.replace("redis://127.0.0.1:6379/0", self.broker)
        with path.open("a") as opened:
            opened.write(f"\n{text}")

    def follow(self, page: Path) -> list[str]:
        """Write and type what a page says; return what the commands printed."""
        return self.follow_text(page.read_text())

    def follow_text(self, text: str) -> list[str]:
        """Follow a part of a page."""
        printed = []
        for block in FENCE.finditer(text):
            if block["file"]:
                self.append(block["file"], block["text"])
            elif block["language"] == "sh":
                printed += [self.type(line) for line in block["text"].splitlines()]
        return printed

    def type(self, line: str) -> str:
        shell = line.replace("manage.py", f"{sys.executable} manage.py")
        return self.run("sh", "-c", shell)


@pytest.fixture
def new_project(tmp_path: Path, redis_url: str) -> NewProject:
    project = NewProject(tmp_path, redis_url)
    project.run(sys.executable, "-m", "django", "startproject", "config", ".")
    return project


def test_the_page_on_adding_it_to_a_project_can_be_followed(new_project: NewProject) -> None:
    printed = new_project.follow(TOP / "docs/add-it-to-your-project.md")
    assert "no issues" in printed[-1]
    assert "deploy" in new_project.run("fab", "--list")


def test_the_page_on_writing_a_recipe_can_be_followed(new_project: NewProject) -> None:
    new_project.follow(TOP / "docs/add-it-to-your-project.md")
    new_project.run(sys.executable, "manage.py", "startapp", "shop")
    new_project.append("config/settings.py", 'INSTALLED_APPS += ["shop"]\n')
    new_project.run(sys.executable, "manage.py", "shell", "-c", MAKE_INVENTORY)
    listed = new_project.follow(TOP / "docs/write-a-recipe.md")
    assert len(listed) == 2
    assert all("warm_cache" in text for text in listed)
    assert "deploy_and_warm" in new_project.run("fab", "--list")


def test_the_lines_of_the_readme_are_all_it_takes(new_project: NewProject, redis_url: str) -> None:
    text = (TOP / "README.md").read_text()
    block = next(found["text"] for found in FENCE.finditer(text) if found["language"] == "python")
    parts = re.split(r"^# (\S+\.py)\n", block, flags=re.M)[1:]
    for file, lines in zip(parts[::2], parts[1::2], strict=True):
        new_project.append(file, lines)
    new_project.run(sys.executable, "manage.py", "migrate")
    told = new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", TELL_TASKS)
    broker, _, known = told.partition(" knows ")
    assert broker.endswith(redis_url)
    assert {"deploy_manager.sweep", "deploy_manager.run_slice"} <= set(known.split())


@pytest.mark.parametrize("page", sorted([*TOP.glob("*.md"), *TOP.glob("docs/*.md")]), ids=str)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_architecture_page_stays_short() -> None:
    assert len((TOP / "docs/architecture.md").read_text().splitlines()) < 100
