"""The small world of the tests: real parts in `tests/parts`, people and servers here."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation
from pytest_django import Settings

pytest_plugins = [
    "tests.commands",
    "tests.inventory",
    "tests.releases",
    "tests.recipe_site",
    "tests.parts.browser",
    "tests.parts.own_project",
    "tests.parts.postgres",
    "tests.parts.redis",
    "tests.parts.repository",
    "tests.parts.sshd",
    "tests.parts.served",
    "tests.parts.worker",
    "tests.parts.guestbook",  # after the parts that it imports
    "tests.parts.guards",
]


@pytest.fixture(autouse=True)
def own_cache(settings: Settings, tmp_path: Path) -> None:
    """Mirrors and archives of one test are no other's."""
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "CACHE": tmp_path / "cache"}


@pytest.fixture(autouse=True)
def own_language() -> Iterator[None]:
    """The last request of a test may have been a French one."""
    with translation.override(None):
        yield
