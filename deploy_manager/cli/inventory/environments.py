"""The environment that a command line means."""

from django.core.management import CommandError
from django.db import DatabaseError

from deploy_manager.models import Environment

WRONG_USAGE = 2
"""Exit code."""


def all_environments() -> list[Environment]:
    """Return every environment. Raises CommandError where the tables can't be read."""
    try:
        return list(Environment.objects.select_related("project"))
    except DatabaseError as error:
        raise CommandError(
            f"The environments can't be read: {error}. Has manage.py migrate been run?"
        ) from None


def find_environment(name: str, project: str = "") -> Environment:
    """Return the environment meant by `production` or `shop/production`.

    `project` narrows a name that several projects have. Raises CommandError, which tells what
    there is, for a name that none has or that is ambiguous.
    """
    there = all_environments()
    found = list(Environment.objects.named(name, project).select_related("project"))
    if len(found) == 1:
        return found[0]
    if found:
        projects = ", ".join(environment.project.name for environment in found)
        raise CommandError(
            f"{name} is in several projects: say --project, one of {projects}.",
            returncode=WRONG_USAGE,
        )
    asked = f"{project}/{name}" if project else name
    there_are = ", ".join(map(str, there)) or "none yet; add one in the admin"
    raise CommandError(
        f"There is no environment {asked!r}. There are: {there_are}.", returncode=WRONG_USAGE
    )
