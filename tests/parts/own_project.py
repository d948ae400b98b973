"""A small project on disk with deploy_manager in it, and its commands as real processes."""

import os
import pty
import select
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.messages", "django.contrib.sessions", "deploy_manager", "shop",
]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": BASE_DIR / "db.sqlite3",
    "OPTIONS": {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;",
    },
}}
CELERY_BROKER_URL = "memory://"
DEPLOY_MANAGER = {"CACHE": BASE_DIR / "cache", "LOCAL_SERVERS": True}
"""
CELERY = """
from celery import Celery
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""
FABFILE = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from deploy_manager.fabfile import *
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
execute_from_command_line(sys.argv)
"""
RECIPES = """
from deploy_manager.recipes import recipe

@recipe("Greet the visitors")
def greet_all(host, site):
    host.run(["echo", f"hello from {host.name}"])

@recipe("Fail on the second")
def fail_on_two(host, site):
    host.run(["sh", "-c", "exit 3"] if host.name == "two" else "true")

@recipe("Linger")
def linger(host, site):
    host.run("echo lingering; exec sleep 600")
"""
ROWS = """
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from deploy_manager.models import *
shop = Project.objects.create(name="shop", repository="/nowhere/shop.git")
blog = Project.objects.create(name="blog", repository="/nowhere/blog.git")
for project in (shop, blog):
    project.environments.create(name="staging", deploy_path="/nowhere/" + project.name)
path = {path!r}
production = shop.environments.create(name="production", deploy_path=path)
for name in ("one", "two"):
    server = Server.objects.create(name=name, connection="local")
    Placement.objects.create(
        environment=production, server=server, own_deploy_path=f"{{path}}/{{name}}"
    )
"""
MOVE = """
UPDATE deploy_manager_placement SET own_deploy_path = ? || (
    SELECT name FROM deploy_manager_server WHERE id = server_id
)
"""
SOURCES = "SELECT source, recipe, state FROM deploy_manager_deployment ORDER BY id"


@dataclass(frozen=True)
class OwnProject:
    """A folder with a fabfile, a manage.py, settings and recipes."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
        return {**kept, "DJANGO_SETTINGS_MODULE": "settings", "COLUMNS": "100"}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command of the virtual environment in the project's folder."""
        program = Path(sys.executable).with_name(command[0])
        return subprocess.Popen(
            [str(program), *command[1:]],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def open_terminal(self, *command: str) -> "Terminal":
        """Start a command on a terminal of its own."""
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            program = Path(sys.executable).with_name(command[0])
            environ = {**self.environ, "TERM": "xterm"}
            os.execve(program, [str(program), *command[1:]], environ)  # noqa: S606  it is us
        return Terminal(pid, master)

    def run(self, *command: str) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        process = self.start(*command)
        printed, _ = process.communicate(timeout=60)
        return process.returncode, printed

    def add_rows(self) -> None:
        """Make the tables, two environments named staging, and one production on two servers."""
        path = str(self.folder / "sites")
        code, printed = self.run("python", "-c", ROWS.format(path=path))
        assert code == 0, printed

    def move_sites(self) -> None:
        """Let a copy's sites lie in the copy: what ran in another one is told there only."""
        with closing(sqlite3.connect(self.folder / "db.sqlite3")) as database, database:
            database.execute(MOVE, [str(self.folder / "sites") + "/"])

    def deployments(self) -> list[str]:
        """Return source, recipe and state of each."""
        with closing(sqlite3.connect(self.folder / "db.sqlite3")) as database:
            return [" ".join(row) for row in database.execute(SOURCES)]


@dataclass
class Terminal:
    """A command on a real terminal, as a person uses it."""

    pid: int
    master: int
    seen: str = ""

    def read_until(self, words: str) -> str:
        """Return all that was printed so far once it has these words; blank for: to the end."""
        until = time.monotonic() + 60
        while not words or words not in self.seen:
            assert time.monotonic() < until, f"{words!r} never came:\n{self.seen}"
            if not select.select([self.master], [], [], 0.2)[0]:
                continue
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # Linux tells the end of a terminal so.
                assert not words, f"{words!r} never came:\n{self.seen}"
                break
        return self.seen

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait(self) -> int:
        """Read to the end; return the exit code."""
        self.read_until("")
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


FILES = {
    "settings.py": SETTINGS,
    "fabfile.py": FABFILE,
    "manage.py": MANAGE,
    "shop/__init__.py": CELERY,
    "shop/recipes.py": RECIPES,
}


def write_project(folder: Path) -> OwnProject:
    (folder / "shop").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return OwnProject(folder)


@pytest.fixture
def bare_project(tmp_path: Path) -> OwnProject:
    """A project whose tables nobody made yet."""
    return write_project(tmp_path / "project")


@pytest.fixture(scope="session")
def project_with_rows(tmp_path_factory: pytest.TempPathFactory) -> OwnProject:
    project = write_project(tmp_path_factory.mktemp("own_project") / "project")
    project.add_rows()
    return project


@pytest.fixture
def own_project(project_with_rows: OwnProject, tmp_path: Path) -> OwnProject:
    """A project with two servers and no deployment yet."""
    shutil.copytree(project_with_rows.folder, tmp_path / "project")
    project = OwnProject(tmp_path / "project")
    project.move_sites()
    return project
