"""Back up a site's databases, or restore them. Runs in the project, by its `manage.py shell`.

Reads JSON: do (back_up or restore), folder, deploy_path, databases (aliases), keep (backups of each
database to keep). A backup is `<time>-<release>-<alias>.sqlite3` or `….dump` (of pg_dump). It is
written beside its place and renamed once it is complete. Prints what was done; exits with 1 and the
reason on stderr. Passwords are given to PostgreSQL's programs as variables, never as words.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from typing import Any

from django.db import connections
from django.db.migrations.executor import MigrationExecutor

REPLACED = "replaced"
"""In the name of a copy that was made before a restore: restoring passes over it."""


def back_up(facts: dict[str, Any]) -> None:
    """Back up each database that has migrations to apply."""
    folder = private(facts["folder"])
    for alias in facts["databases"]:
        executor = MigrationExecutor(connections[alias])
        if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
            print(f"No migrations for {alias}: no backup is needed.")
            continue
        release = os.environ.get("DEPLOY_RELEASE", "unknown")
        if made := [path for path in backups(folder, alias) if release_of(path) == release]:
            # It failed half-way before: what the database holds now is not what it was.
            print(f"{alias} was backed up before this release began to migrate it: {made[0]}")
            continue
        path = copy(alias, folder, release)
        print(f"Backed up {alias}: {path} ({os.path.getsize(path):,} bytes)")
        for old in backups(folder, alias)[facts["keep"] :]:
            os.unlink(old)
            print(f"Removed the old backup {old}")


def restore(facts: dict[str, Any]) -> None:
    """Replace the databases that the last deployment with backups had changed by those backups."""
    if not os.path.exists(os.path.join(facts["deploy_path"], "maintenance", "on")):
        sys.exit(
            "The maintenance page is not up: what visitors write while the database is replaced"
            " would be lost. Run the recipe maintenance_up first, and stop the site's other"
            " processes."
        )
    folder = private(facts["folder"])
    found = {alias: backups(folder, alias) for alias in facts["databases"]}
    paths = sorted((each for every in found.values() for each in every), key=os.path.basename)
    if not paths:
        sys.exit(f"There is no backup in {folder}: nothing was changed.")
    release = release_of(paths[-1])
    # Of other times, they would take a database back that this deployment did not migrate.
    together = {
        alias: next((path for path in every if release_of(path) == release), "")
        for alias, every in found.items()
    }
    for alias in [alias for alias, path in together.items() if not path]:
        print(f"{alias} stays as it is: release {release} did not migrate it.")
    for alias, path in [(alias, path) for alias, path in together.items() if path]:
        made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(os.path.getmtime(path)))
        print(f"{alias} is replaced by {path}, of {made} UTC")
        kept = copy(alias, folder, REPLACED)
        print(f"What it holds now is kept as {kept}")
        kind(alias).restore(connections[alias], path)
        print(f"Restored {alias}")
    print(f"They are as before release {release}: roll back to the one before it, if it serves.")


def backups(folder: str, alias: str) -> list[str]:
    """Return the backups of a database, newest first: their names begin with the time."""
    names = sorted(os.listdir(folder), reverse=True)
    return [os.path.join(folder, name) for name in names if alias_of(name) == alias]


def release_of(path: str) -> str:
    """Return the release whose migrations a backup was made for."""
    name = os.path.basename(path)
    stem = re.sub(r"\A\d{8}-\d{6}-|\.(sqlite3|dump)\Z", "", name)
    return stem[: -len(alias_of(name)) - 1]


def alias_of(name: str) -> str:
    """Return the database that a file in the folder is a backup of; blank if it is none."""
    found = re.fullmatch(r"\d{8}-\d{6}-(.+)\.(?:sqlite3|dump)", name)
    if not found or found.group(1).startswith(f"{REPLACED}-"):
        return ""
    # The longest: one alias may be the end of another one.
    fitting = (alias for alias in connections if found.group(1).endswith(f"-{alias}"))
    return max(fitting, key=len, default="")


def private(folder: str) -> str:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    return folder


def copy(alias: str, folder: str, what: str) -> str:
    """Copy a database to a private file; return its path."""
    found = kind(alias)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    path = os.path.join(folder, f"{stamp}-{what}-{alias}{found.end}")
    beside = f"{path}.part"
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        found.copy(connections[alias], beside)
        os.replace(beside, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)
    return path


class Sqlite:
    """Copied by SQLite itself, page by page, while others may write."""

    end = ".sqlite3"

    @staticmethod
    def copy(connection: Any, path: str) -> None:
        connection.ensure_connection()
        with closing(sqlite3.connect(path)) as target:
            connection.connection.backup(target)

    @staticmethod
    def restore(connection: Any, path: str) -> None:
        connection.ensure_connection()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
            source.backup(connection.connection)


class PostgreSQL:
    """Copied by pg_dump, and restored in one transaction: all of it, or nothing."""

    end = ".dump"

    @staticmethod
    def copy(connection: Any, path: str) -> None:
        run(connection, "pg_dump", "--format=custom", "--no-password", f"--file={path}")

    @staticmethod
    def restore(connection: Any, path: str) -> None:
        # Tables of later migrations are in no backup, and would be in the way of the same ones.
        tables = connection.introspection.table_names()
        connection.close()
        drop = "".join(
            f"DROP TABLE IF EXISTS {connection.ops.quote_name(name)} CASCADE;\n" for name in tables
        )
        words, variables = command(
            connection, "psql", "--quiet", "--no-password", "--no-psqlrc", "--single-transaction"
        )
        words += ["--set=ON_ERROR_STOP=1", "--output=/dev/null"]
        read = [program("pg_restore"), "--clean", "--if-exists", "--no-owner", "--file=-", path]
        with subprocess.Popen(read, stdout=subprocess.PIPE) as dump:
            psql = subprocess.Popen(words, env=variables, stdin=subprocess.PIPE)
            # Either end may give up, and says why.
            with suppress(BrokenPipeError), psql.stdin:
                psql.stdin.write(drop.encode())
                shutil.copyfileobj(dump.stdout, psql.stdin)
                if dump.wait():
                    psql.kill()  # before it sees an end, at which it would commit
        if psql.wait() or dump.returncode:
            sys.exit(f"{path} could not be restored: the database is as it was.")


def run(connection: Any, name: str, *options: str) -> None:
    words, variables = command(connection, name, *options)
    done = subprocess.run(words, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed, so nothing was changed: {done.stderr.strip()}")


def command(connection: Any, name: str, *options: str) -> tuple[list[str], dict[str, str]]:
    """Return the words and variables with which one of PostgreSQL's programs connects as we do."""
    client = connection.client
    # As `manage.py dbshell` does: the words are those of psql, which pg_dump takes as well.
    words, variables = client.settings_to_cmd_args_env(connection.settings_dict, [])
    return [program(name), *options, *words[1:]], {**os.environ, **(variables or {})}


def program(name: str) -> str:
    path = shutil.which(name)
    if not path:
        sys.exit(
            f"{name} is not on this server: install it (on Debian: apt-get install"
            " postgresql-client), or set the environment's backups to keep to 0."
        )
    return path


def kind(alias: str) -> Any:
    vendor = connections[alias].vendor
    kinds = {"sqlite": Sqlite, "postgresql": PostgreSQL}
    if vendor not in kinds:
        sys.exit(
            f"{alias} is a database of {vendor}, of which no backups are made here, only of SQLite"
            " and PostgreSQL: set the environment's backups to keep to 0, and back it up yourself."
        )
    return kinds[vendor]


def main() -> None:
    facts = json.load(sys.stdin)
    {"back_up": back_up, "restore": restore}[facts["do"]](facts)


main()
