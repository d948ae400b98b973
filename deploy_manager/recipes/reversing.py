"""Reversing the migrations between the current release and an earlier one, before a rollback.

In the databases that are migrated; a site's other databases are left as they are.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.logs import mask_text
from deploy_manager.recipes.databases import DEFAULT, database_option, databases_of
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.registry import Scope, Uses, recipe
from deploy_manager.recipes.shipping import SHOWN_CHARACTERS, ship

_UNKNOWN = Result(0, "null", "")
"""The answer that a dry run assumes: only the server knows its database."""


@dataclass(frozen=True)
class Migration:
    """An applied migration that the earlier release does not know."""

    app: str
    name: str
    is_reversible: bool
    """Whether it can be reversed without reversing one that the earlier release knows."""

    back_to: str
    """The migration before it in its app; `zero` if there is none."""

    database: str = DEFAULT

    def __str__(self) -> str:
        return f"{self.app}.{self.name}"


@recipe(_("Reverse migrations"), scope=Scope.ONCE, uses=Uses.GIVEN)
def reverse_migrations(host: Host, site: Site) -> None:
    """Reverse migrations that the earlier release does not know, with the current release's code.

    Raises CommandFailed, with nothing changed, if a migration can't be reversed; unless all of
    these were forced by name, which leaves the database as it is.
    """
    site.require_release()
    if site.keep_database:
        host.say("The database is left as it is, as requested.")
        return
    between = _migrations_between(host, site)
    if between is None:
        host.say("The migrations between the two releases are reversed here.")
    elif not between:
        host.say("There are no migrations between the two releases.")
    elif _is_forced(between, site):
        host.say(f"Forced: the database is left as it is, with {_names(between)}.")
    else:
        current = replace(site, release="")
        for migration in between:
            words = (*database_option(migration.database), migration.app, migration.back_to)
            host.run(current.manage("migrate", "--noinput", *words))


def _migrations_between(host: Host, site: Site) -> list[Migration] | None:
    """Return the applied migrations unknown to the earlier release, the last applied first.

    None in a dry run, which can't know them.
    """
    known = json.dumps(_ask(host, site, "known")).encode()
    current = replace(site, release="")
    between = []
    for alias in reversed(databases_of(site)):
        found = _ask(host, current, "between", alias, stdin=known)
        if found is None:
            return None
        between += [Migration(**facts, database=alias) for facts in found]
    return between


def _ask(host: Host, site: Site, *words: str, stdin: bytes = b"") -> Any:
    line = site.in_release(site.python_path, ship(host, site, "list_migrations.py"), *words)
    result = host.run(line, stdin=stdin, quiet=True, check=False, assume=_UNKNOWN)
    with suppress(ValueError, IndexError):
        if result.ok:
            # The project's own code may print before it.
            return json.loads(result.stdout.splitlines()[-1])
    said = mask_text(result.stderr or result.stdout).strip()
    raise RecipeError(
        _("The migrations of %(release_path)s could not be read: %(last_line)s"),
        release_path=site.release_path,
        last_line=said.rpartition("\n")[2][-SHOWN_CHARACTERS:],
    )


def _is_forced(between: Sequence[Migration], site: Site) -> bool:
    """Whether all irreversible migrations were forced; raises CommandFailed if only some were."""
    stuck = [migration for migration in between if not migration.is_reversible]
    if not stuck:
        return False
    if all(str(migration) in site.forced_migrations for migration in stuck):
        return True
    options = " ".join(f"--force-migration {migration}" for migration in stuck)
    raise CommandFailed(
        _(
            "%(stuck)s can't be reversed: nothing was changed. To roll back anyway and "
            "leave the database as it is, add %(options)s"
        ),
        exit_code=1,
        stuck=_names(stuck),
        options=options,
    )


def _names(migrations: Sequence[Migration]) -> str:
    return ", ".join(map(str, migrations))
