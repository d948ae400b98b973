"""Migrations that lie between the current release and an earlier one, undone before a rollback."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.registry import Scope, Uses, recipe
from deploy_manager.recipes.shipping import ship

_NOTHING = Result(0, "[]", "")


@dataclass(frozen=True)
class Migration:
    """A migration that is applied, and that the earlier release does not know."""

    app: str
    name: str
    is_reversible: bool
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
    if not between:
        host.say("No migrations lie between the two releases.")
        return
    forced = _refuse_unless_forced(between, site)
    if forced:
        host.say(f"Forced: the database is left as it is, with {_names(between)}.")
        return
    current = replace(site, release="")
    for migration in between:
        host.run(current.manage("migrate", "--noinput", migration.app, migration.back_to))


def _migrations_between(host: Host, site: Site) -> list[Migration]:
    """Return what is applied and unknown to the earlier release, the newest first."""
    known = _ask(host, site, site, "known")
    applied = _ask(host, site, replace(site, release=""), "applied")
    names = {tuple(each) for each in known}
    return [Migration(*facts) for facts in applied if tuple(facts[:2]) not in names]


def _ask(host: Host, site: Site, release: Site, what: str) -> list[list[Any]]:
    script = ship(host, site, "list_migrations.py")
    line = release.in_release(release.python_path, script, what)
    result = host.run(line, quiet=True, check=False, assume=_NOTHING)
    try:
        if result.ok:
            answer: list[list[Any]] = json.loads(result.stdout.splitlines()[-1])
            return answer
    except (ValueError, IndexError):
        pass
    said = (result.stderr or result.stdout).strip()[-1000:]
    raise RecipeError(f"The migrations of {release.release_path} can't be read: {said}")


def _refuse_unless_forced(between: Sequence[Migration], site: Site) -> bool:
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
