"""A live manager: a project behind gunicorn with TLS, a worker, and tokens of its API."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.parts.authority import Authority
from tests.parts.client import Client, build_wheel
from tests.parts.own_project import FILES, OwnProject
from tests.parts.processes import free_port, listens, running
from tests.parts.repository import Repository

SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).parent
SECRET_KEY = "only for tests"
USE_TZ = True
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
STATIC_URL = "/static/"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.messages", "django.contrib.sessions", "deploy_manager", "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": BASE_DIR / "db.sqlite3",
    "OPTIONS": {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;",
    },
}}
CELERY_BROKER_URL = "embedded://"
CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(BASE_DIR / "broker")}
CELERY_BEAT_SCHEDULE = {
    "deploy_manager": {
        "task": "deploy_manager.reconcile", "schedule": 3.0, "options": {"expires": 5},
    },
}
DEPLOY_MANAGER = {"CACHE": BASE_DIR / "cache", "LOCAL_SERVERS": True, "API_RATE": "6000/m"}
"""
URLS = """
from django.contrib import admin
from django.urls import include, path
urlpatterns = [
    path("admin/", admin.site.urls), path("deploy/", include("deploy_manager.urls")),
]
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = get_wsgi_application()
"""
CELERY = """
import deploy_manager.embedded
from celery import Celery
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
RECIPES = """
import time
from pathlib import Path
from deploy_manager.recipes import recipe

@recipe("Greet the visitors")
def greet_all(host, site):
    host.run(["echo", f"hello from {host.name}"])

@recipe("Fail on the second")
def fail_on_two(host, site):
    host.run(["sh", "-c", "echo oops; exit 3"] if host.name == "two" else "true")

@recipe("Linger")
def linger(host, site):
    host.run(f"echo lingering; until [ -e {site.deploy_path}/go ]; do sleep 0.1; done")

@recipe("Paint")
def paint(host, site):
    host.run(["printf", "\\x1b]0;owned\\x07\\x1b[31mred\\x1b[0m\\x1b[2J end\\n"])
"""
ROWS = """
import json, django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
from deploy_manager.models import *
from deploy_manager.models.tokens import Scope
folder, repository = {folder!r}, {repository!r}
shop = Project.objects.create(name="shop", repository=repository)
def add(name, servers, **fields):
    made = shop.environments.create(
        name=name, deploy_path=f"{{folder}}/{{name}}", installer="uv", reload_method="none",
        health_path="", variables=dict(
            ALLOWED_HOSTS="*", DATABASE_PATH=f"{{folder}}/{{name}}.db", SECRET_KEY="only for tests"
        ), **fields,
    )
    for server in servers:
        Placement.objects.create(
            environment=made, own_deploy_path=f"{{folder}}/{{name}}/{{server}}",
            server=Server.objects.get_or_create(name=server, connection="local")[0],
        )
    return made
staging = add("staging", ["three"])
add("production", ["four"], promotes_from=staging)
add("guarded", ["five"], approvals_needed=1)
add("lab", ["one", "two"])
boss = User.objects.create_superuser("boss")
ann = User.objects.create_superuser("ann")
every = list(Scope.values)
tokens = dict(
    boss=Token.objects.issue(boss, name="laptop", scopes=every)[1],
    ann=Token.objects.issue(ann, name="her laptop", scopes=every)[1],
    viewer=Token.objects.issue(boss, name="screen", scopes=["view"])[1],
)
print(json.dumps(tokens))
"""


@dataclass
class Manager:
    """A project that serves the API over TLS."""

    project: OwnProject
    authority: Authority
    port: int
    tokens: dict[str, str]
    _web: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/deploy/"

    @property
    def sites(self) -> Path:
        return self.project.folder / "sites"

    @property
    def environ(self) -> dict[str, str]:
        return {**self.project.environ, "PYTHONPATH": str(self.project.folder)}

    def python(self, lines: str) -> str:
        """Run lines in the project; return what they print."""
        command = [sys.executable, "-c", f"import django; django.setup()\n{MODELS}{lines}"]
        done = subprocess.run(
            command,
            cwd=self.project.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def client(self, program: Path, home: Path, token: str) -> Client:
        """Return the command that asks this manager by a token, named or as it is."""
        variables = {
            "DEPLOY_MANAGER_URL": self.url,
            "DEPLOY_MANAGER_TOKEN": self.tokens.get(token, token),
            "SSL_CERT_FILE": str(self.authority.bundle),
        }
        return Client(program, home, variables)

    def start(self) -> None:
        """Start the web server; returns once it listens."""
        words = ["--workers", "1", "--threads", "8", "--bind", f"127.0.0.1:{self.port}"]
        words += ["--certfile", str(self.authority.server_file), "--graceful-timeout", "1"]
        words += ["--keyfile", str(self.authority.server_file), "--chdir", str(self.project.folder)]
        self._web.enter_context(
            running(
                [sys.executable, "-m", "gunicorn", *words, "wsgi:application"],
                lambda: listens(self.port),
                self.project.folder / "web.log",
                environment=self.environ,
            )
        )

    def stop(self) -> None:
        """End the web server, as a restart does."""
        self._web.close()

    def work(self) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """Let a worker run in a block."""
        log = self.project.folder / "worker.log"
        words = ["worker", "--beat", "--pool", "threads", "--concurrency", "4"]
        words += ["--loglevel", "info"]
        words += ["--schedule", str(self.project.folder / "beat")]
        return running(
            [sys.executable, "-m", "celery", "-A", "shop", *words],
            lambda: "ready." in log.read_text(errors="replace"),
            log,
            environment={**self.environ, "PWD": str(self.project.folder)},
        )


MODELS = "from deploy_manager.models import *\n"


def write_manager(folder: Path, repository: Repository, authority: Authority) -> Manager:
    """Write a project with four environments, two people and their tokens."""
    (folder / "shop").mkdir(parents=True)
    files = {
        "settings.py": SETTINGS,
        "urls.py": URLS,
        "wsgi.py": WSGI,
        "manage.py": FILES["manage.py"],
        "shop/__init__.py": CELERY,
        "shop/recipes.py": RECIPES,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    project = OwnProject(folder)
    rows = ROWS.format(folder=str(folder / "sites"), repository=str(repository.path))
    (folder / "sites").mkdir()
    code, printed = project.run("python", "-c", rows)
    assert code == 0, printed
    return Manager(project, authority, free_port(), json.loads(printed.splitlines()[-1]))


TESTS = """
import unittest
class Tests(unittest.TestCase):
    def test_nothing(self):
        self.assertTrue(True)
"""
PINS = "asgiref==3.13.0\ndjango==5.2.19\nsqlparse==0.5.3\n"
SITE = {
    "requirements.txt": PINS,
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_settings")
execute_from_command_line(sys.argv)
""",
    "shop_settings.py": """
import os
SECRET_KEY = os.environ["SECRET_KEY"]
INSTALLED_APPS = []
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE_PATH"]
}}
""",
    "test_shop.py": TESTS,
}


@pytest.fixture(scope="session")
def shop_code(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A site that is quick to deploy."""
    made = Repository.make(tmp_path_factory.mktemp("code") / "shop")
    made.commit("Open the shop", SITE)
    return made


@pytest.fixture(scope="session")
def live_manager(
    tmp_path_factory: pytest.TempPathFactory, shop_code: Repository, authority: Authority
) -> Iterator[Manager]:
    made = write_manager(tmp_path_factory.mktemp("manager") / "project", shop_code, authority)
    with made.work():
        made.start()
        yield made
        made.stop()


@pytest.fixture(scope="session")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))
