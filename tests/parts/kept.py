"""Sites that many tests begin with are deployed once, kept, and laid down again for each test."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction

from deploy_manager.models import Project
from tests.inventory import Inventory

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Kept:
    """The rows of all tables, a copy of the folder they tell of, and what they call things."""

    tables: dict[str, tuple[list[str], Rows]]
    folder: Path
    environment: int
    names: tuple[str, ...]
    """What each test has another of, like the folder and the address of its index."""


class KeptSites:
    """What was deployed so far in this process, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Kept] = {}

    def begin(
        self, name: str, inventory: Inventory, make: Callable[[], None], names: Sequence[str] = ()
    ) -> None:
        """Make a site of a fresh inventory by `make`, or have what that made the first time.

        PostgreSQL, where few tests run, has each made: its sequences would have to be kept, too.
        """
        names = (str(inventory.folder), *names)
        if connection.vendor != "sqlite" or Project.objects.count() > 1:
            make()
        elif name in self._kept:
            self._lay(self._kept[name], inventory, names)
        else:
            make()
            self._kept[name] = self._keep(name, inventory, names)

    def _keep(self, name: str, inventory: Inventory, names: tuple[str, ...]) -> Kept:
        tables = {}
        with connection.cursor() as cursor:
            for table in _tables():
                cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608  names of our models
                columns = [column[0] for column in cursor.description]
                tables[table] = (columns, cursor.fetchall())
        copy = shutil.copytree(inventory.folder, self._folder / name, symlinks=True)
        return Kept(tables, copy, inventory.environment.pk, names)

    def _lay(self, kept: Kept, inventory: Inventory, names: tuple[str, ...]) -> None:
        renamed = list(zip(kept.names, names, strict=True))
        with transaction.atomic(), connection.cursor() as cursor:
            for table in _tables():
                cursor.execute(f'DELETE FROM "{table}"')  # noqa: S608
            for table, (columns, rows) in kept.tables.items():
                places = ", ".join(["%s"] * len(columns))
                listed = ", ".join(f'"{column}"' for column in columns)
                cursor.executemany(
                    f'INSERT INTO "{table}" ({listed}) VALUES ({places})',  # noqa: S608
                    [tuple(_renamed(value, renamed) for value in row) for row in rows],
                )
        shutil.copytree(kept.folder, inventory.folder, symlinks=True, dirs_exist_ok=True)
        inventory.environment.pk = kept.environment
        inventory.environment.refresh_from_db()


def _tables() -> list[str]:
    models = apps.get_app_config("deploy_manager").get_models(include_auto_created=True)
    return [model._meta.db_table for model in models]


def _renamed(value: Any, renamed: list[tuple[str, str]]) -> Any:
    if isinstance(value, str):
        for before, after in renamed:
            value = value.replace(before, after)
    return value


@pytest.fixture(scope="session")
def kept_sites(tmp_path_factory: pytest.TempPathFactory) -> KeptSites:
    """Sites that are deployed once in this process."""
    return KeptSites(tmp_path_factory.mktemp("kept"))
