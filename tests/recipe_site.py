"""A site for recipes to work on: a small Django project in git, its pins, one local host."""

import io
import sys
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest

from deploy_manager.hosts.address import Address, OpenHost, Stream
from deploy_manager.hosts.opening import open_host
from deploy_manager.packages.pins import pinned_in
from deploy_manager.recipes import Site, get_recipe
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_digest, lock_text

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_settings")
execute_from_command_line(sys.argv)
"""
SETTINGS = """
import os
from pathlib import Path
BASE = Path(__file__).parent
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.staticfiles"]
SQLITE = "django.db.backends.sqlite3"
DATABASES = {"default": {"ENGINE": SQLITE, "NAME": BASE / "shared/db.sqlite3"}}
STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT")
STATICFILES_DIRS = [BASE / "assets"]
"""
CODE = {"manage.py": MANAGE, "shop_settings.py": SETTINGS, "assets/shop.css": "body { color: red }"}


def make_archive(path: Path, files: dict[str, str]) -> Path:
    """Write files as the .tar.gz of a commit."""
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


@dataclass
class RecipeSite:
    """One site on one host, and what the recipes printed so far."""

    host: OpenHost
    site: Site
    folder: Path
    printed: bytearray

    def run(self, *names: str) -> str:
        """Run recipes in order; return what they printed."""
        start = len(self.printed)
        for name in names:
            get_recipe(name).function(self.host, self.site)
        return self.printed[start:].decode()

    def use(self, **changes: object) -> None:
        self.site = replace(self.site, **changes)  # type: ignore[arg-type]

    def new_release(self, name: str, files: dict[str, str]) -> None:
        """Take a release of this name and code in hand."""
        archive = make_archive(self.folder / f"{name}.tar.gz", files)
        self.use(release=name, commit=f"{name}-commit", archive=archive)

    def take(self, name: str, files: dict[str, str]) -> None:
        """Unpack a release of this code, which runs by this test's own Django."""
        python = Path(self.site.venvs_path, "ours/bin/python")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore "$@"\n')
        python.chmod(0o755)
        (python.parent.parent / ".complete").touch()
        self.new_release(name, files)
        self.run("checkout_latest")
        Path(self.site.release_path, "venv").symlink_to("../../venvs/ours")


@pytest.fixture(scope="session")
def small_lock() -> str:
    """Two packages without dependencies, with hashes."""
    return lock_text(complete_pins("sqlparse==0.5.3\nasgiref==3.8.1\n"))


@pytest.fixture(scope="session")
def django_lock() -> str:
    return lock_text(complete_pins("django==5.2.8\n"))


@pytest.fixture(scope="session")
def tools_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tools are packed once for all tests."""
    return tmp_path_factory.mktemp("tools")


def make_recipe_site(folder: Path, lock: str, cache: Path) -> RecipeSite:
    """Return a site with its first release in hand, none of it on the host yet."""
    printed = bytearray()

    def sink(stream: Stream, data: bytes) -> None:
        printed.extend(data)

    site = Site(
        environment="shop/production",
        deploy_path=str(folder / "site"),
        lock=lock,
        pins=pinned_in(lock),
        lock_digest=lock_digest(lock),
        cache=cache,
    )
    host = open_host(Address(name="one", local=True), sink, Event())
    made = RecipeSite(host, site, folder, printed)
    made.new_release("r1", CODE)
    return made


@pytest.fixture
def recipe_site(tmp_path: Path, small_lock: str, tools_cache: Path) -> RecipeSite:
    """A site of a test's own."""
    return make_recipe_site(tmp_path, small_lock, tools_cache)
