"""The small world of the tests: real parts in `tests/parts`, people and servers here."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.core.cache import cache
from django.utils import translation
from pytest_django import Settings

from deploy_manager.recipes import broken_modules, processes
from tests.celery_app import app
from tests.parts.privileges import may_boot, may_mount

# What pytest makes of the asserts is kept for the next stage of script/test, which tells the
# processes of the tests to write no bytecode: it takes longer than all else of the collection.
sys.dont_write_bytecode = False

pytest_plugins = [
    "tests.commands",
    "tests.inventory",
    "tests.parts.flushing",
    "tests.parts.kept",  # after the inventory that it imports
    "tests.releases",
    "tests.loop",  # after the inventory that it imports
    "tests.recipe_site",
    "tests.parts.browser",
    "tests.parts.index",
    "tests.parts.authority",  # after the index that it imports
    "tests.parts.osv",
    "tests.parts.new_project",
    "tests.parts.own_project",
    "tests.parts.postgres",
    "tests.parts.redis",
    "tests.parts.repository",
    "tests.parts.secret_keys",
    "tests.parts.sshd",
    "tests.parts.machines",  # after sshd, whose key it takes
    "tests.parts.installed",  # after the parts that it imports
    "tests.parts.served",
    "tests.parts.machine_site",
    "tests.parts.worker",
    "tests.parts.manager",  # after the parts that it imports
    "tests.parts.guestbook",  # after the parts that it imports
    "tests.parts.guards",
    "tests.big_shop",  # after the guestbook that it imports
    "tests.policies",  # after the index that it imports
    "tests.wheel_site",  # after sshd and the recipes' site that it imports
    "tests.upgrades",  # after the parts that it imports
    "tests.watching",  # after the inventory that it imports
    "tests.overrides",  # after the upgrades that it imports
    "tests.returns",  # after the overrides that it imports
]


LEFT_OUT = {
    "mounts": "tests that mount small disks or make networks, which this machine forbids",
    "machines": "tests on Debian servers that they boot: add --machines, as root",
    "celery_beat": "tests of django-celery-beat, which takes no Django as new as this one",
    "as_root": "tests that give folders to other accounts, which only root may",
    "long": "long matrices: add --long",
}
"""By the marker of such tests."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="with long matrices, as CI runs them: script/test --long",
    )
    parser.addoption(
        "--machines",
        action="store_true",
        help="with tests that boot Debian servers, as CI runs them: script/test --machines",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--machines") and not may_boot():
        raise pytest.UsageError("Debian servers are booted by root, where control groups allow it.")


def left_out(config: pytest.Config) -> list[str]:
    """Return the markers of what can't be tested here, or was not asked for.

    What is only not installed fails.
    """
    found = [] if may_mount() else ["mounts"]
    found += [] if config.getoption("--machines") else ["machines"]
    found += [] if os.geteuid() == 0 else ["as_root"]
    found += [] if django.VERSION < (6, 1) else ["celery_beat"]
    return found if config.getoption("--long") else [*found, "long"]


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [f"left out: {LEFT_OUT[name]}" for name in left_out(config)]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    names = left_out(config)
    forbidden = [item for item in items if any(map(item.get_closest_marker, names))]
    if forbidden:
        config.hook.pytest_deselected(items=forbidden)
        items[:] = [item for item in items if item not in forbidden]


@pytest.fixture(autouse=True, scope="session")
def loaded_recipes() -> None:
    """They are loaded once: in a test that replaces the registry, they would go with it."""
    assert not broken_modules()


@pytest.fixture(autouse=True)
def own_cache(settings: Settings, tmp_path: Path) -> None:
    """Mirrors and archives of one test are no other's."""
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "CACHE": tmp_path / "cache"}


@pytest.fixture(autouse=True)
def own_rates() -> None:
    """Requests of one test do not count in the next: its tokens may have the same keys."""
    cache.clear()


@pytest.fixture(autouse=True)
def short_watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tests of processes that end look at them for as long as a deployment does."""
    if not request.node.get_closest_marker("machines"):
        monkeypatch.setattr(processes, "SETTLED_SECONDS", 0.2)


@pytest.fixture(autouse=True)
def own_celery_app() -> None:
    """The demo's, which comes with its modules, would be everybody's from then on."""
    app.set_current()


@pytest.fixture(autouse=True)
def own_language() -> Iterator[None]:
    """The last request of a test may have been a French one."""
    with translation.override(None):
        yield
