"""A small Django site with a web server, a Celery worker and beat, on a machine of the tests."""

import http.client
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from threading import Event

import pytest

from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.opening import open_host
from deploy_manager.recipes import HealthCheck, Process, Reload, Site, get_recipe, processes
from deploy_manager.recipes.code import variables_text
from tests.parts.machines import PACKAGES, Machine, MakeMachines
from tests.parts.served import wait_until

FILES = {
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "config/__init__.py": "from config.celery import app as celery_app",
    "config/settings.py": """
import os
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
CELERY_BROKER_URL = "filesystem://"
QUEUE = os.environ["HOME"] + "/queue"
os.makedirs(QUEUE, exist_ok=True)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": QUEUE, "data_folder_out": QUEUE, "control_folder": QUEUE + "-control"
}
CELERY_BEAT_SCHEDULE = {"tick": {"task": "config.celery.tick", "schedule": 1.0}}
""",
    "config/urls.py": """
import os, pathlib
from django.http import HttpResponse
from django.urls import path
HERE = pathlib.Path(__file__).resolve().parents[1].name
urlpatterns = [path("", lambda request: HttpResponse(f"{HERE} {os.environ.get('COLOUR', '')}"))]
""",
    "config/wsgi.py": """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
""",
    "config/asgi.py": """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
from django.core.asgi import get_asgi_application
application = get_asgi_application()
""",
    "config/celery.py": """
import os, pathlib
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
from celery import Celery
app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
HERE = pathlib.Path(__file__).resolve().parents[1].name

@app.task
def tick():
    with open(os.environ["DEPLOY_PATH"] + "/ticks", "a") as file:
        file.write(HERE + "\\n")
""",
}


class MachineSite:
    """A site on a machine, in releases that are made by hand and served by our recipes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.printed = bytearray()
        self.points_back_to = ""
        """A release that `current` leads to after the switch, as somebody might have it."""

        self.connect()
        self.path = str(PurePosixPath(machine.home) / "site")
        self.site = Site(
            environment="shop/production",
            deploy_path=self.path,
            unit_prefix="shop-production",
            supervisor="auto",
            at_boot=True,
            reload=Reload("gunicorn", bind=f"{machine.address}:8000", workers=1),
            health=HealthCheck(url=f"http://{machine.address}:8000/", deadline=5),
            variables={},
        )

    def connect(self) -> None:
        def note(stream: Stream, data: bytes) -> None:
            self.printed.extend(data)

        self.host = open_host(self.machine.address_for("web1"), note, Event())

    def power_cycle(self) -> None:
        """Cut the power; returns when the site answers again, with what it answered before."""
        before = self.said()
        self.machine.power_cycle()
        wait_until(lambda: self.said() == before)
        self.connect()

    def change(self, **values: object) -> None:
        self.site = replace(self.site, **values)  # type: ignore[arg-type]

    def run_processes(self, *processes: Process) -> None:
        """Have it run these, which need not stay up for long."""
        self.change(processes=tuple(replace(each, stays_up=2) for each in processes))

    def make(self, release: str, **files: str) -> None:
        """Make a complete release; `files` replace or add some: config__urls for config/urls.py."""
        folder = f"{self.path}/releases/{release}"
        own = {name.replace("__", "/") + ".py": text for name, text in files.items()}
        lines = [f"mkdir -p {folder}/config {self.path}/.deploy/environment {self.path}/venvs"]
        for name, text in {**FILES, **own}.items():
            lines.append(f"cat >{folder}/{name} <<'END_OF_FILE'\n{text}\nEND_OF_FILE")
        site = replace(self.site, release=release)
        variables = variables_text(site)
        lines.append(f"cat >{site.variables_path} <<'END_OF_FILE'\n{variables}\nEND_OF_FILE")
        lines.append(
            f"cd {self.path}/venvs && [ -e one ] || {{ python3 -m venv --without-pip one"
            f" && (cd one/lib/python3.*/site-packages && echo {PACKAGES} >tests.pth)"
            f" && for name in gunicorn daphne celery; do printf '%s\\n' '#!/bin/sh'"
            f' "exec {self.path}/venvs/one/bin/python -m $name \\"\\$@\\"" >one/bin/$name'
            f" && chmod 755 one/bin/$name; done; }}"
        )
        lines.append(
            f"ln -sfn ../../venvs/one {folder}/venv && touch {folder}/.complete one/.complete"
        )
        self.machine.run("set -e\n" + "\n".join(lines))

    def deploy(self, release: str, **files: str) -> str:
        """Make a release, activate, reload and verify it; return what was printed."""
        self.make(release, **files)
        return self.switch_to(release)

    def switch_to(self, release: str) -> str:
        begin = len(self.printed)
        for recipe, of in (("activate", release), ("reload", ""), ("verify", release)):
            get_recipe(recipe).function(self.host, replace(self.site, release=of))
            if recipe == "activate" and self.points_back_to:
                link = f"{self.path}/current"
                self.machine.run(f"ln -sfn releases/{self.points_back_to} {link}")
        return self.printed[begin:].decode()

    def write(self, path: str, text: str) -> None:
        """Write a file of a release: `r1/Procfile`."""
        file = f"{self.path}/releases/{path}"
        quoted = f"cat >{file} <<'END_OF_FILE'\n{text}\nEND_OF_FILE"
        self.machine.run(f"mkdir -p $(dirname {file}) && {quoted}")

    def ticks(self) -> list[str]:
        """Return which releases' workers have run the tasks that beat sent."""
        return self.machine.run(f"cat {self.path}/ticks 2>/dev/null || true").split()

    def masters(self) -> int:
        """Return how many gunicorn masters of our own run."""
        tree = self.machine.run("ps -eo pid,ppid,args | grep '[p]rocesses.pyz serve' || true")
        rows = [line.split()[:2] for line in tree.splitlines()]
        own = {pid for pid, _parent in rows}
        return sum(1 for _pid, parent in rows if parent not in own)

    @contextmanager
    def asking(self) -> Iterator[list[str]]:
        """Ask the site again and again meanwhile; gives the answers, errors too."""
        answers: list[str] = []
        enough = threading.Event()

        def ask() -> None:
            while not enough.is_set():
                try:
                    with urllib.request.urlopen(
                        f"http://{self.site.reload.bind}/", timeout=30
                    ) as got:
                        answers.append(got.read().decode().strip())
                except (OSError, http.client.HTTPException) as error:
                    answers.append(repr(error))

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            yield answers
        finally:
            enough.set()
            asker.join()

    def said(self) -> str:
        """Return what the site answers; blank if it does not."""
        try:
            with urllib.request.urlopen(f"http://{self.site.reload.bind}/", timeout=30) as got:
                return str(got.read().decode().strip())
        except (OSError, http.client.HTTPException):
            return ""

    def units(self) -> list[str]:
        """Return the site's units that are active, of the system and of the account."""
        found = []
        for own in ("", "--user"):
            listed = self.machine.run(
                f"systemctl {own} list-units --plain --no-legend --state=active 'shop-*'"
            )
            found += [line.split()[0] for line in listed.splitlines()]
        return sorted(found)


@pytest.fixture
def machine_site(
    machines: MakeMachines, ssh_settings: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MachineSite]:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 3)
    (machine,) = machines(1)
    site = MachineSite(machine)
    yield site
    site.host.close()
