"""New Django projects that write and type what pages of the docs tell."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
FENCE = re.compile(
    r"^```(?P<language>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.M | re.S
)


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
            timeout=300,
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
        path.parent.mkdir(parents=True, exist_ok=True)
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


@pytest.fixture(scope="session")
def followed_once(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str
) -> tuple[NewProject, list[str]]:
    """A project that has deploy_manager as the page on it says, and what its commands printed."""
    project = NewProject(tmp_path_factory.mktemp("followed") / "manager", redis_url)
    project.folder.mkdir()
    project.run(sys.executable, "-m", "django", "startproject", "config", ".")
    printed = project.follow(TOP / "docs/add-it-to-your-project.md")
    # The servers of these tests are folders of this machine.
    project.append("config/settings.py", 'DEPLOY_MANAGER["LOCAL_SERVERS"] = True\n')
    return project, printed


@pytest.fixture
def new_project(tmp_path: Path, followed_once: tuple[NewProject, list[str]]) -> NewProject:
    """A copy of that project, tables and all: making one takes ten seconds."""
    made, _printed = followed_once
    folder = tmp_path / "manager"
    shutil.copytree(made.folder, folder)
    return NewProject(folder, made.broker)
