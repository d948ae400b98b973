"""Migrations that lie between the current release and an earlier one, undone before a rollback.

Those of the default database: what a site keeps in others is left as it is.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.registry import Scope, Uses, recipe
from deploy_manager.recipes.shipping import SHOWN_CHARACTERS, ship

_UNKNOWN = Result(0, "null", "")
"""What a dry run is answered: the server alone knows its database."""


@dataclass(frozen=True)
class Migration:
    """A migration that is applied, and that the earlier release does not know."""

    app: str
    name: str
    is_reversible: bool
    """Whether it can be undone, and without undoing one that the earlier release knows."""

    back_to: str
    """The migration before it in its app; `zero`: there is none."""

    def __str__(self) -> str:
        return f"{self.app}.{self.name}"


@recipe(gettext_noop("Reverse migrations"), scope=Scope.ONCE, uses=Uses.GIVEN)
def reverse_migrations(host: Host, site: Site) -> None:
    """Undo what the earlier release does not know, by the current release's own code.

    Raises CommandFailed, with nothing changed, where a migration can't be reversed; unless all of
    those were forced by name: then the database is left as it is.
    """
    site.require_release()
    if site.keep_database:
        host.say("The database is left as it is.")
        return
    between = _migrations_between(host, site)
    if between is None:
        host.say("Migrations that lie between the two releases are reversed here.")
    elif not between:
        host.say("No migrations lie between the two releases.")
    elif _is_forced(between, site):
        host.say(f"Forced: the database is left as it is, with {_names(between)}.")
    else:
        _reverse(host, site, between)


def _reverse(host: Host, site: Site, between: Sequence[Migration]) -> None:
    current = replace(site, release="")
    for migration in between:
        host.run(current.manage("migrate", "--noinput", migration.app, migration.back_to))


def _migrations_between(host: Host, site: Site) -> list[Migration] | None:
    """Return what is applied and unknown to the earlier release, the newest first.

    None in a dry run, which can't know.
    """
    known = _ask(host, site, "known")
    between = _ask(host, replace(site, release=""), "between", json.dumps(known).encode())
    return None if between is None else [Migration(**facts) for facts in between]


def _ask(host: Host, site: Site, what: str, stdin: bytes = b"") -> Any:
    line = site.in_release(site.python_path, ship(host, site, "list_migrations.py"), what)
    result = host.run(line, stdin=stdin, quiet=True, check=False, assume=_UNKNOWN)
    with suppress(ValueError, IndexError):
        if result.ok:
            return json.loads(result.stdout.splitlines()[-1])
    last_line = (result.stderr or result.stdout).strip().rpartition("\n")[2][-SHOWN_CHARACTERS:]
    raise RecipeError(f"The migrations of {site.release_path} can't be read: {last_line}")


def _is_forced(between: Sequence[Migration], site: Site) -> bool:
    """Whether all that can't be reversed was named; raises CommandFailed for what was not."""
    stuck = [migration for migration in between if not migration.is_reversible]
    if not stuck:
        return False
    if all(str(migration) in site.forced_migrations for migration in stuck):
        return True
    options = " ".join(f"--force-migration {migration}" for migration in stuck)
    raise CommandFailed(
        f"{_names(stuck)} can't be reversed: nothing was changed. To go back all the same, with the"
        f" database as it is: {options}",
        1,
    )


def _names(migrations: Sequence[Migration]) -> str:
    return ", ".join(map(str, migrations))
