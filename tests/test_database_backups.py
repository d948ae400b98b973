"""A database is backed up before it is migrated, and can be brought back."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.databases import _with_lock_timeout
from tests.parts.postgres import started
from tests.recipe_site import RecipeSite
from tests.test_recipes_rollback import SHOP, migrations

MAKE = 'migrations.CreateModel("{}", [("id", models.BigAutoField(primary_key=True))])'
ONE, TWO = {"0001_a": MAKE.format("a")}, {"0002_b": MAKE.format("b")}
POSTGRES = """
DATABASES["default"] = {{"ENGINE": "django.db.backends.postgresql", "NAME": {name!r},
    "HOST": {host!r}, "PORT": {port!r}, "USER": {user!r}, "PASSWORD": "only for tests"}}
"""


def take(site: RecipeSite, name: str, operations: dict[str, str], lines: str = "") -> RecipeSite:
    site.use(shared=("shared",), keep_backups=1)
    settings = SHOP["shop_settings.py"] + lines
    site.take(name, {**SHOP, "shop_settings.py": settings, **migrations(operations)})
    return site


def backups(site: RecipeSite) -> list[str]:
    folder = Path(site.site.backups_path)
    return sorted(os.listdir(folder)) if folder.exists() else []


def tables(site: RecipeSite) -> set[str]:
    with closing(sqlite3.connect(f"{site.site.shared_path}/shared/db.sqlite3")) as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'shop_%'")
        return {name for (name,) in rows}


def test_sqlite_is_backed_up_before_migrations_and_brought_back_under_the_maintenance_page(
    recipe_site: RecipeSite,
) -> None:
    take(recipe_site, "r1", ONE).run("migrate", "activate")
    take(recipe_site, "r2", ONE | TWO)
    said = recipe_site.run("migrate", "activate")
    assert "Backed up default: " in said
    assert "Removed the old backup" in said
    assert "No migrations for default: no backup is needed" in recipe_site.run("migrate")
    folder, (backup,) = Path(recipe_site.site.backups_path), backups(recipe_site)
    assert backup.endswith("-r2-default.sqlite3")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / backup).stat().st_mode & 0o777 == 0o600

    recipe_site.use(release="")
    with pytest.raises(CommandFailed, match="maintenance page is not up"):
        recipe_site.run("restore_database")
    assert tables(recipe_site) == {"shop_a", "shop_b"}
    said = recipe_site.run("maintenance_up", "restore_database")
    assert "default is replaced by " in said
    assert tables(recipe_site) == {"shop_a"}
    kept = [name for name in backups(recipe_site) if "-replaced-" in name]
    with closing(sqlite3.connect(folder / kept[0])) as database:
        assert database.execute("SELECT count(*) FROM shop_b").fetchone() == (0,)


def test_what_was_backed_up_is_kept_if_the_migration_is_tried_again(
    recipe_site: RecipeSite,
) -> None:
    """After a migration that failed half-way: another backup would hold what it left."""
    take(recipe_site, "r1", ONE).run("migrate", "activate")
    take(recipe_site, "r2", ONE | {"0002_b": MAKE.format("a")})
    with pytest.raises(CommandFailed):
        recipe_site.run("migrate")
    first = backups(recipe_site)
    with pytest.raises(CommandFailed):
        recipe_site.run("migrate")
    assert backups(recipe_site) == first


REPORTS = """
DATABASES["reports"] = {"ENGINE": SQLITE, "NAME": BASE / "shared/reports.sqlite3"}
"""


def test_a_database_that_the_last_deployment_did_not_migrate_is_not_restored(
    recipe_site: RecipeSite,
) -> None:
    """Its newest backup is of another time, and all that was written since would be gone."""
    recipe_site.use(migrate_databases=("default", "reports"))
    take(recipe_site, "r1", ONE, REPORTS).run("migrate", "activate")
    take(recipe_site, "r2", ONE | TWO, REPORTS).run("migrate", "activate")
    folder = Path(recipe_site.site.backups_path)
    (backup,) = folder.glob("*-r2-reports.sqlite3")
    backup.rename(folder / "20200101-000000-r0-reports.sqlite3")
    recipe_site.use(release="")
    said = recipe_site.run("maintenance_up", "restore_database")
    assert "reports stays as it is: release r2 did not migrate it." in said
    assert "Restored default" in said
    assert "reports is replaced" not in said


def test_without_a_backup_nothing_is_changed(recipe_site: RecipeSite) -> None:
    take(recipe_site, "r1", ONE).use(keep_backups=0)
    recipe_site.run("migrate", "activate", "maintenance_up")
    assert backups(recipe_site) == []
    recipe_site.use(release="")
    with pytest.raises(CommandFailed, match=r"There is no backup in .*: nothing was"):
        recipe_site.run("restore_database")


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with started() as url:
        yield url


@pytest.fixture
def on_postgres(recipe_site: RecipeSite, postgres_url: str, tmp_path: Path) -> tuple[str, str]:
    """The lines of the settings of a database of its own, and its URL."""
    name = f"shop{abs(hash(tmp_path))}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    at = urlsplit(postgres_url)
    lines = POSTGRES.format(name=name, host=at.hostname, port=at.port, user=at.username)
    return lines, postgres_url.rpartition("/")[0] + f"/{name}"


def postgres_tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'shop_%'")
        return {name for (name,) in rows}


def test_postgresql_is_dumped_and_restored_whole(
    recipe_site: RecipeSite, on_postgres: tuple[str, str]
) -> None:
    lines, url = on_postgres
    take(recipe_site, "r1", ONE, lines).run("migrate", "activate")
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO shop_a DEFAULT VALUES")
    take(recipe_site, "r2", ONE | TWO, lines)
    said = recipe_site.run("migrate", "activate", "maintenance_up")
    assert "only for tests" not in said
    assert backups(recipe_site)[-1].endswith("-r2-default.dump")
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM shop_a")
    recipe_site.use(release="")
    recipe_site.run("restore_database")
    assert postgres_tables(url) == {"shop_a"}
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM shop_a").fetchone() == (1,)

    # One that is damaged changes nothing, and the migrations can be applied again.
    (backup,) = (name for name in backups(recipe_site) if "-replaced-" not in name)
    dump = Path(recipe_site.site.backups_path, backup)
    dump.write_bytes(dump.read_bytes()[:-200])
    with pytest.raises(CommandFailed, match="could not be restored: the database is as it was"):
        recipe_site.run("restore_database")
    assert postgres_tables(url) == {"shop_a"}
    recipe_site.use(release="r2", keep_backups=0)
    recipe_site.run("migrate")
    assert postgres_tables(url) == {"shop_a", "shop_b"}


def test_a_server_without_pg_dump_is_told_the_package(
    recipe_site: RecipeSite, on_postgres: tuple[str, str], tmp_path: Path
) -> None:
    lines, url = on_postgres
    (tmp_path / "bin").mkdir()
    for name in ("sh", "basename", "readlink", "python3"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    recipe_site.use(variables={"PATH": str(tmp_path / "bin")})
    take(recipe_site, "r1", ONE, lines)
    with pytest.raises(CommandFailed, match=r"pg_dump is not on this server: .*postgresql-client"):
        recipe_site.run("migrate")
    assert postgres_tables(url) == set()


@pytest.mark.long
def test_a_migration_that_can_not_have_its_table_in_time_fails_and_queues_nobody(
    recipe_site: RecipeSite, on_postgres: tuple[str, str]
) -> None:
    lines, url = on_postgres
    take(recipe_site, "r1", ONE, lines).use(keep_backups=0, lock_timeout=1)
    recipe_site.run("migrate")
    change = {"0002_b": 'migrations.AddField("a", "name", models.TextField(default=""))'}
    take(recipe_site, "r2", ONE | change, lines).use(keep_backups=0)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT * FROM shop_a")
        with pytest.raises(CommandFailed):
            recipe_site.run("migrate")
    assert "canceling statement due to lock timeout" in recipe_site.printed.decode()


def test_the_lock_timeout_is_added_to_options_of_the_sites_own(recipe_site: RecipeSite) -> None:
    recipe_site.use(lock_timeout=5, variables={"PGOPTIONS": "-c statement_timeout=9"})
    recipe_site.run("checkout_latest")
    line = _with_lock_timeout(recipe_site.site).rpartition(" && ")[0] + ' && echo "$PGOPTIONS"'
    said = recipe_site.host.run(line).stdout
    assert said == "-c statement_timeout=9 -c lock_timeout=5000\n"
