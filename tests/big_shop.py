"""A Django site with 31 pins on four servers over SSH, for benchmarks."""

import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.models import Environment, Server
from deploy_manager.packages.pins import replace_pins
from deploy_manager.requirements.completing import complete_pins
from tests.inventory import Inventory
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.index import Index
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd, StartSshd
from tests.test_over_ssh import place, reach_over_ssh

NAMES = ("web1", "web2", "web3", "web4")
PINS = (
    "amqp==5.4.2 asgiref==3.13.0 billiard==4.3.2 celery==5.7.0 certifi==2026.10.19.post1"
    " charset-normalizer==3.5.3 click==8.5.1 click-didyoumean==0.3.1 click-plugins==1.1.1.2"
    " click-repl==0.4.1 colorama==0.4.6 django==5.2.19 django-filter==26.2"
    " djangorestframework==3.18.3 gunicorn==27.0.1 idna==3.20 kombu==5.7.0"
    " pillow==13.0.0 prompt-toolkit==3.0.53 python-dateutil==2.9.0.post0 requests==2.34.2"
    " six==1.17.0 sqlparse==0.6.1 typing-extensions==4.16.0 tzdata==2026.6 tzlocal==5.4.5"
    " urllib3==2.8.0 vine==5.1.0 wcwidth==0.9.4 whitenoise==6.12.0"
)
"""A Django site as there are many; shopkit, the library that moves, is the 31st."""

APPS = """
INSTALLED_APPS += [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.sessions", "django.contrib.messages", "rest_framework", "django_filters",
]
MIDDLEWARE += [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES[0]["OPTIONS"]["context_processors"] += [
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]
SILENCED_SYSTEM_CHECKS = ["django_filters.W001"]
"""
SHOPKIT = """
from guestbook.views import health
from shopkit import VERSION
from django.http import HttpResponse
def tell(request):
    told = health(request)
    return HttpResponse(told.content + f" shopkit {VERSION}".encode(), status=told.status_code)
urlpatterns.insert(0, path("health/", tell))
"""


@dataclass
class Shop:
    """A site on four servers, and a library of which there is always a newer version."""

    inventory: Inventory
    index: Index
    repository: Repository
    sshds: list[Sshd]
    number: int = 0
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def environment(self) -> Environment:
        return self.inventory.environment

    def release_a_version(self) -> str:
        self.number += 1
        version = f"1.{self.number}"
        self.index.add("shopkit", version)
        return version

    def note(self, name: str, seconds: float) -> None:
        self.seconds[name].append(seconds)

    def median(self, name: str) -> float:
        """Return the median of all rounds but the first."""
        _first, *others = self.seconds[name]
        return statistics.median(others)

    def told(self) -> str:
        """Return the medians of all rounds but the first."""
        loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
        lines = [f"{os.cpu_count()} processors, load averages {loads}"]
        for name, (_first, *others) in self.seconds.items():
            rounds = " ".join(f"{one:.2f}" for one in others)
            lines.append(f"{name:47} {self.median(name):6.2f} s   ({rounds})")
        return "\n".join(lines)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of the pins, for the Python that the servers have."""
    folder = tmp_path_factory.mktemp("wheels")
    python = shutil.which("python3", path=os.defpath)
    assert python, "Install python3: the sites of the tests run by the system's own."
    ask = [python, "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    words += ["--python-version", version]
    subprocess.run([sys.executable, "-m", "pip", *words, *PINS.split()], check=True)
    return list(folder.glob("*.whl"))


@pytest.fixture
def shop(
    guestbook: Repository,
    package_index: Index,
    wheels: list[Path],
    start_sshd: StartSshd,
    ssh_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    transactional_db: None,
) -> Iterator[Shop]:
    """`shop/production` on four servers over SSH, not deployed yet."""
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)  # servers have the index alone
    add_to(guestbook)
    for file in wheels:
        package_index.offer(file)
    sshds = [start_sshd(ListenAddress=f"127.0.9.{number}") for number, _ in enumerate(NAMES, 1)]
    made = make_site(tmp_path, guestbook, sshds[0].home / "guestbook.sqlite3")
    Environment.objects.update(
        index_url=package_index.url, pins_from=Environment.PinsFrom.ROWS, health_text="shopkit"
    )
    made.environment.refresh_from_db()
    for name, sshd in zip(NAMES, sshds, strict=True):
        server = Server(name=name)
        reach_over_ssh(server, sshd)
        place(made, server, sshd)
    shop = Shop(made, package_index, guestbook, sshds)
    asked = "\n".join([*PINS.split(), f"shopkit=={shop.release_a_version()}\n"])
    pins = complete_pins(asked, index_url=package_index.url)
    assert len(pins) == len(PINS.split()) + 1
    replace_pins(made.environment, pins)
    yield shop
    end_gunicorns(made.environment)


def add_to(guestbook: Repository) -> None:
    files = {"config/settings.py": APPS, "config/urls.py": SHOPKIT}
    guestbook.commit(
        "Use the kit",
        {name: (guestbook.path / name).read_text() + more for name, more in files.items()},
    )
