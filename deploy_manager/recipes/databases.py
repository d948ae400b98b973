"""The databases of a site: migrated as the environment says, backed up before, brought back."""

import json
import shlex
from contextlib import suppress
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.in_project import (
    FORESEEN,
    PARTS,
    Part,
    run_in_project,
    run_part,
)
from deploy_manager.recipes.registry import Scope, Uses, recipe
from deploy_manager.recipes.shipping import said_by

DEFAULT = "default"


@recipe(_("Show the planned migrations"), scope=Scope.ONCE, uses=Uses.NEWEST)
def show_migrations(host: Host, site: Site) -> None:
    """Show the migrations that would be applied to each database; nothing is changed."""
    site.require_release()
    for alias in databases_of(site):
        host.run(site.manage("migrate", "--plan", *database_option(alias)))


@recipe(_("Migrate the database"), scope=Scope.ONCE, uses=Uses.NEWEST)
def migrate(host: Host, site: Site) -> None:
    """Show the planned migrations and apply them, once for the whole environment.

    If the environment keeps backups, each database with migrations to apply is backed up before
    any of them is migrated. If the release's preparation has shown that there is nothing to apply,
    and nothing of the project's own that would be called, nothing is started.
    """
    foreseen = _foreseen(host, site)
    if foreseen is None:
        show_migrations(host, site)
    else:
        for alias, plan in foreseen["plans"].items():
            host.say(f"{alias}: {plan}".strip())
        if foreseen["is_nothing"]:
            host.say("There is nothing to migrate.")
            return
    if site.keep_backups:
        _work_on_databases(host, site, "back_up", keep=site.keep_backups)
    for alias in databases_of(site):
        host.run(_with_lock_timeout(site, "migrate", "--noinput", *database_option(alias)))


def _foreseen(host: Host, site: Site) -> dict[str, Any] | None:
    """Return what the preparation of the release found out; None: nothing, or it failed."""
    if FORESEEN not in site.together:
        return None
    result = run_part(host, site, FORESEEN)
    with suppress(ValueError):
        if result.ok:
            return dict(json.loads(result.stdout.strip().rpartition("\n")[2]))
    return None


@recipe(_("Restore the database"), scope=Scope.ONCE)
def restore_database(host: Host, site: Site) -> None:
    """Replace the databases by their newest backups; what they hold now is backed up before.

    Raises CommandFailed, with nothing changed, unless the maintenance page is up: what visitors
    write meanwhile would be lost.
    """
    _work_on_databases(host, site, "restore")


def _work_on_databases(host: Host, site: Site, what: str, **more: object) -> None:
    facts = {
        "do": what,
        "folder": site.backups_path,
        "deploy_path": site.deploy_path,
        "databases": databases_of(site),
        **more,
    }
    result = run_in_project(host, site, "database_copies.py", facts)
    for line in result.stdout.splitlines():
        host.say(line)
    if not result.ok:
        raise CommandFailed(said_by(result), result.exit_code)


PARTS[FORESEEN] = Part(
    "pending_migrations.py", lambda site: {"databases": list(databases_of(site))}
)


def databases_of(site: Site) -> tuple[str, ...]:
    """Return the databases that are migrated, in that order."""
    return site.migrate_databases or (DEFAULT,)


def database_option(alias: str) -> tuple[str, ...]:
    """Return the words that name a database to `manage.py migrate`."""
    return () if alias == DEFAULT else ("--database", alias)


def _with_lock_timeout(site: Site, *arguments: str) -> str:
    """Return a line of sh for `manage.py <arguments>`, with the environment's lock timeout.

    Every client of PostgreSQL that is built on libpq reads PGOPTIONS, psycopg too.
    """
    if not site.lock_timeout:
        return site.manage(*arguments)
    option = f"-c lock_timeout={site.lock_timeout * 1000}"
    export = f'export PGOPTIONS="${{PGOPTIONS:+$PGOPTIONS }}{option}"'
    command = shlex.join([site.python_path, "manage.py", *arguments])
    return f"{site.enter_release()} && {export} && {command}"
