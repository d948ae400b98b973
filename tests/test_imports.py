"""Installing the app costs a project nothing: Django starts without what only work needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.own_project import MANAGE, OwnProject
from tests.parts.repository import Repository

HEAVY = (
    "paramiko",
    "fabric",
    "invoke",
    "uv",
    "pypi_simple",
    "requests",
    "truststore",
    "cryptography",
    "apprise",
    "rich",
    "pip_requirements_parser",
    "urllib3",
    "ansi2html",
    "virtualenv",
    "packaging",
    "pydantic",
    "celery",
    "kombu",
    "redis",
)
"""Celery comes with a project's own Celery app, not with ours."""

ENGINE = tuple(
    f"deploy_manager.{room}"
    for room in (
        "packages",
        "deployments.request",
        "deployments.run",  # `deployments.progress` alone is what a history page reads
        "upgrades",
        "watching",
        "inventory",
        "inventories",
        "reconcile",
        "dispatch",
        "hosts",
        "requirements",
        "advisories",
        "wheels",
        "git",
        "tasks",
        "broker",
        "notifications",
    )
)

SETTINGS = """
SECRET_KEY = "only for tests"
ROOT_URLCONF = "small_urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "deploy_manager",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""

URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""

WAYS = {
    "setup": "",
    "admin": "admin.autodiscover(); import deploy_manager.admin",
    "urls": "from django.urls import reverse; reverse('admin:index')",
    "help": "ManagementUtility(['manage.py', 'help']).execute()",
    "check": "ManagementUtility(['manage.py', 'check']).execute()",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the app in it, and no Celery app yet."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small_settings.py").write_text(SETTINGS)
    (folder / "small_urls.py").write_text(URLS)
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_django_starts_without_what_only_work_needs(way: str, project: Path) -> None:
    code = f"""
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "small_settings"
sys.path.insert(0, {str(project)!r})
import django
django.setup()
from django.contrib import admin
from django.core.management import ManagementUtility
{WAYS[way]}
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    imported = set(json.loads(done.stdout.strip().splitlines()[-1]))
    assert ("deploy_manager.recipes" in imported) == (way == "check")
    assert "deploy_manager.admin.deployments.history" in imported
    assert not imported.intersection((*HEAVY, *ENGINE))


WORK = (
    *("paramiko", "fabric", "requests", "pypi_simple", "truststore", "urllib3", "cryptography"),
    *("nacl", "uv", "virtualenv", "apprise", "ansi2html", "ninja", "pydantic"),
    *(
        f"deploy_manager.{room}"
        for room in (
            *("tasks", "reconcile", "upgrades.plan", "upgrades.progress", "watching.rounds"),
            *("hosts.ssh", "hosts.link", "packages.inventory", "packages.auditing", "advisories"),
            *("deployments.run", "deployments.prepare", "notifications", "wheels.offers"),
        )
    ),
)
"""What a worker needs, and a request does not."""

REQUEST = """
import json, sqlite3, sys
from contextlib import closing
import django
django.setup()
with closing(sqlite3.connect("db.sqlite3")) as database, database:
    database.execute(
        "UPDATE deploy_manager_project SET repository = ? WHERE name = 'shop'", [sys.argv[1]]
    )
from django.core.management import call_command
call_command("deploy", "shop/production", "--no-wait", "--json")
print(json.dumps(sorted(sys.modules)))
"""


def test_a_deployment_is_requested_without_what_only_a_worker_needs(
    own_project: OwnProject, repository: Repository
) -> None:
    pins = "django==5.2.1\ngunicorn==23.0.0\n"
    repository.commit("A site", {"manage.py": MANAGE, "requirements.txt": pins})
    code, printed = own_project.run("python", "-c", REQUEST, str(repository.path))
    assert code == 0, printed
    assert own_project.deployments() == ["manage.py deploy queued"]
    imported = set(json.loads(printed.strip().splitlines()[-1]))
    assert "deploy_manager.deployments.request" in imported
    assert not imported.intersection(WORK)
