"""Steps that follow each other load the project once, and end as they would on their own."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy_manager.deployments.orders import groups_of
from deploy_manager.exceptions import Cancelled, CommandFailed
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.guard_line import Work
from deploy_manager.hosts.guarded import GuardedHost, open_guarded
from deploy_manager.models import Step
from deploy_manager.recipes import get_recipe
from tests.parts.guards import Book
from tests.parts.hosts import is_running
from tests.parts.served import wait_until
from tests.recipe_site import CODE, SETTINGS, RecipeSite

TOGETHER = ("collect_static", "check", "migrate")
COUNTED = """
with open(BASE / "shared/loads", "a") as loads:
    loads.write("x")
STATIC_ROOT = BASE / "collected"
"""
"""Settings that count how often they are loaded."""

SHARED = ("shared",)
SHOP = {**CODE, "shop_settings.py": SETTINGS + COUNTED, "shop/__init__.py": ""}
WITH_APP = {**SHOP, "shop_settings.py": SETTINGS + COUNTED + 'INSTALLED_APPS.insert(0, "shop")\n'}
OWN_COMMAND = "shop/management/commands/collectstatic.py"
RUDE = """
import sys
from django.conf import settings
from django.core.management.base import BaseCommand
class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--noinput", dest="interactive", action="store_false")
    def handle(self, **options):
        settings.DEBUG = True
        print("rude")
        sys.exit(0)
"""
MIGRATION = """
from django.db import migrations
class Migration(migrations.Migration):
    operations = [migrations.RunSQL("CREATE TABLE hats (id integer)")]
"""
LISTENER = """
from django.apps import AppConfig
from django.db.models.signals import post_migrate
def greet(**kwargs):
    print("greeted")
class ShopConfig(AppConfig):
    name = "shop"
    def ready(self):
        post_migrate.connect(greet, sender=self, weak=False)
"""


class Steps:
    """A site's steps on a guarded host, each with the number that it has in its deployment."""

    def __init__(self, site: RecipeSite) -> None:
        self.site = site
        self.book = Book()
        self.cancelled = Event()
        self.hosts: list[GuardedHost] = []
        self.open()

    def open(self, token: int = 1, deployment: int = 1) -> None:
        """Take a deployment up, as the worker with this token."""
        for host in self.hosts[-1:]:
            host.close()
        work = Work(
            folder=self.site.site.tools_path,
            python="python3",
            key="shop",
            deployment=deployment,
            begin_number=deployment,
            token=token,
            who="Ann",
            what="Deploy",
        )
        address = Address(name="one", local=True)
        self.host = open_guarded(address, work, self.book, self.cancelled)
        self.hosts.append(self.host)

    def run(self, name: str, together: tuple[str, ...] = TOGETHER) -> str:
        """Run a step; return what it said."""
        before = len(self.book.pieces)
        self.site.use(together=together, begun_by=1)
        self.host.begin_step(TOGETHER.index(name) + 1)
        get_recipe(name).function(self.host, self.site.site)
        return "".join(data.decode() for _stream, data in self.book.pieces[before:])

    @property
    def loads(self) -> int:
        """How often the project was loaded since it was asked the last time."""
        file = Path(self.site.site.shared_path, "shared/loads")
        count = len(file.read_text()) if file.exists() else 0
        file.unlink(missing_ok=True)
        return count


@pytest.fixture
def steps(recipe_site: RecipeSite) -> Iterator[Steps]:
    recipe_site.use(shared=SHARED)
    recipe_site.take("r1", SHOP)
    made = Steps(recipe_site)
    yield made
    for host in made.hosts:
        host.close()


def test_the_project_is_loaded_once_and_says_what_it_says_each_time(steps: Steps) -> None:
    alone = [steps.run(name, ()) for name in ("collect_static", "check")]
    assert steps.loads == 2
    # Else its static files would be copied from the first one.
    steps.site.take("r2", {**SHOP, "assets/shop.css": "body { color: blue }"})
    steps.open(deployment=2)
    together = [steps.run(name).replace("/r2/", "/r1/") for name in ("collect_static", "check")]
    assert steps.loads == 1
    # The common folder of static files has those of the first release by then.
    assert [said.replace("new there: 0", "new there: 1") for said in together] == alone
    assert "1 static file copied" in alone[0]
    assert "System check identified no issues" in alone[1]


def test_what_a_part_does_to_the_process_the_next_one_does_not_see(steps: Steps) -> None:
    folders = ("shop/management/__init__.py", "shop/management/commands/__init__.py")
    steps.site.take("r2", {**WITH_APP, **dict.fromkeys(folders, ""), OWN_COMMAND: RUDE})
    assert "rude" in steps.run("collect_static")
    assert "DEBUG" not in steps.run("check")
    assert steps.loads == 1


@pytest.mark.parametrize(
    "lines",
    [
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import socket; kept = socket.socket()",
    ],
    ids=["thread", "socket"],
)
def test_a_project_that_can_t_be_forked_is_loaded_for_each_part(steps: Steps, lines: str) -> None:
    settings = f"{SETTINGS}{COUNTED}\n{lines}\n"
    steps.site.take("r2", {**SHOP, "shop_settings.py": settings})
    assert "1 static file copied" in steps.run("collect_static")
    assert "no issues" in steps.run("check")
    assert steps.loads == 2


def test_a_project_that_can_t_be_loaded_fails_in_the_first_of_them(steps: Steps) -> None:
    steps.site.take("r2", {**SHOP, "shop_settings.py": "import nothing_of_this_name\n"})
    with pytest.raises(CommandFailed, match="nothing_of_this_name"):
        steps.run("collect_static")


def test_each_fails_for_its_own_reason(steps: Steps) -> None:
    settings = f'{SETTINGS}{COUNTED}\nROOT_URLCONF = "nowhere"\n'
    steps.site.take("r2", {**SHOP, "shop_settings.py": settings})
    assert "1 static file copied" in steps.run("collect_static")
    with pytest.raises(CommandFailed, match="nowhere"):
        steps.run("check")


def test_a_worker_that_takes_over_hears_what_the_one_before_had_begun(steps: Steps) -> None:
    steps.run("collect_static")
    steps.host.handed_over.set()  # it hangs up, and leaves what runs running
    steps.open(token=2)
    assert "no issues" in steps.run("check")
    assert steps.loads == 1


def test_a_step_whose_group_never_began_is_run_alone(steps: Steps) -> None:
    assert "no issues" in steps.run("check")
    assert steps.loads == 1


def test_who_cancels_in_between_ends_what_runs_on(steps: Steps) -> None:
    slow = "import pathlib, os, time\nfrom django.core.checks import register\n@register()\n"
    slow += "def slowly(**kwargs):\n"
    slow += "    pathlib.Path('shared/pid').write_text(str(os.getpid())); time.sleep(60)\n"
    steps.site.take("r2", {**WITH_APP, "shop/models.py": slow})
    steps.run("collect_static")
    file = Path(steps.site.site.release_path, "shared/pid")
    wait_until(lambda: file.exists() and bool(file.read_text()))
    steps.cancelled.set()
    with pytest.raises(Cancelled):
        steps.run("check")
    wait_until(lambda: not is_running(int(file.read_text())))


def test_what_runs_on_is_ended_with_its_host(steps: Steps) -> None:
    steps.site.take("r2", SHOP)
    started = time.monotonic()
    steps.host.begin_step(1)
    steps.host.run_until("echo go; sleep 60", "go", begun_by=1)
    assert steps.host.end_what_runs_on()
    assert steps.host.run("echo next").stdout == "next\n"
    assert time.monotonic() - started < 30


Migrated = Callable[[dict[str, str]], str]


@pytest.fixture
def migrated(steps: Steps) -> Migrated:
    """Prepare a release of this code, and return what its migration said."""

    def migrate(code: dict[str, str]) -> str:
        number = len(steps.hosts) + 1
        steps.site.take(f"r{number}", code)
        steps.open(deployment=number)
        steps.run("collect_static")
        steps.run("check")
        assert steps.loads == 1
        return steps.run("migrate")

    return migrate


def test_what_is_to_be_migrated_is_known_before_and_nothing_starts_nothing(
    steps: Steps, migrated: Migrated
) -> None:
    first = migrated(SHOP)
    assert "contenttypes.0001_initial" in first
    assert "Applying contenttypes.0001_initial... OK" in first
    assert steps.loads == 1
    second = migrated(SHOP)
    assert "No planned migration operations." in second
    assert "There is nothing to migrate." in second
    assert steps.loads == 0
    files = {"shop/migrations/__init__.py": "", "shop/migrations/0001_hats.py": MIGRATION}
    assert "Applying shop.0001_hats... OK" in migrated({**WITH_APP, **files})


def test_what_the_project_does_at_each_migration_is_done(steps: Steps, migrated: Migrated) -> None:
    code = {**WITH_APP, "shop/apps.py": LISTENER, "shop/models.py": ""}
    migrated(code)
    steps.loads  # noqa: B018  counted from here
    said = migrated(code)
    assert "greeted" in said
    assert "There is nothing to migrate." not in said


def step(number: int, recipe: str, stage: int = 1, **more: Any) -> Step:
    return Step(number=number, recipe=recipe, stage=stage, **more)


@pytest.mark.parametrize(
    ("steps_", "groups"),
    [
        ("1 build, 1 collect_static, 1 check, 2 migrate", [["collect_static", "check", "migrate"]]),
        ("1 collect_static, 1 check, 1 smoke, 2 migrate", [["collect_static", "check", "migrate"]]),
        ("1 collect_static, 1 check", [["collect_static", "check"]]),
        ("1 collect_static, 1 own, 1 check, 2 migrate", [["check", "migrate"]]),
        ("1 collect_static, 1 check, 1 own, 2 migrate", [["collect_static", "check"]]),
        ("1 collect_static, 1 check, 2 activate, 3 migrate", [["collect_static", "check"]]),
        ("1 check, 2 activate", []),
        ("1 migrate", []),
    ],
)
def test_what_shares_a_process(steps_: str, groups: list[list[str]]) -> None:
    words = [each.split() for each in steps_.split(", ")]
    rows = [step(number, name, int(stage)) for number, (stage, name) in enumerate(words, 1)]
    assert [[each.recipe for each in group] for group in groups_of(rows)] == groups
