"""Say which migrations are to be applied. Runs in the project, by its `manage.py shell`.

Reads JSON: databases (aliases). Prints on the last line, as JSON: plans (what `migrate --plan`
prints, by alias), and is_nothing: whether `migrate` would change nothing and have nothing done. It
changes nothing. An error is that of `migrate --plan`.
"""

from __future__ import annotations

import io
import json
import sys
import weakref
from collections.abc import Iterator
from typing import Any

from django.core.management import call_command, get_commands
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.signals import post_migrate, pre_migrate

DJANGO = "django."


def plan_of(alias: str) -> str:
    printed = io.StringIO()
    call_command("migrate", plan=True, database=alias, skip_checks=False, stdout=printed)
    return printed.getvalue()


def has_nothing(alias: str) -> bool:
    """Whether nothing is to be applied or written down.

    Of migrations that were squashed, `migrate` writes down the one that replaces them.
    """
    connection = connections[alias]
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    applied = MigrationRecorder(connection).applied_migrations()
    return all(
        key in applied or not all(each in applied for each in migration.replaces)
        for key, migration in executor.loader.replacements.items()
    )


def wakes_the_project() -> bool:
    """Whether code that is not Django's is called by every `migrate`, or is what it runs."""
    if get_commands().get("migrate") != "django.core":
        return True
    return any(not name.startswith(DJANGO) for name in receivers())


def receivers() -> Iterator[str]:
    """Yield the modules of what is called before and after migrations."""
    for signal in (pre_migrate, post_migrate):
        for entry in signal.receivers:
            function: Any = entry[1]  # behind the key by which it is looked up
            if isinstance(function, weakref.ReferenceType):
                function = function()
            if function is not None:
                yield str(getattr(function, "__module__", ""))


def main() -> None:
    aliases = json.load(sys.stdin)["databases"]
    plans = {alias: plan_of(alias) for alias in aliases}
    is_nothing = not wakes_the_project() and all(map(has_nothing, aliases))
    print()
    print(json.dumps({"plans": plans, "is_nothing": is_nothing}))


main()
