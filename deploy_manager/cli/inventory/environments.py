"""Finding the environment that an argument names."""

from django.core.management import CommandError
from django.db import DatabaseError

from deploy_manager.cli.exits import refuse
from deploy_manager.models import Environment


def all_environments() -> list[Environment]:
    """Return every environment. Raises CommandError if the tables cannot be read."""
    try:
        return list(Environment.objects.select_related("project"))
    except DatabaseError as error:
        raise CommandError(
            f"The environments can't be read: {error}. Has manage.py migrate been run?"
        ) from None


def find_environment(name: str, project: str = "") -> Environment:
    """Return the environment with a name like `production` or `shop/production`.

    `project` narrows a name that several projects have. Raises CommandError (exit code 2), with
    the names there are, for a name that is unknown or ambiguous.
    """
    known = all_environments()
    found = list(Environment.objects.named(name, project).select_related("project"))
    if not found:
        full_name = f"{project}/{name}" if project else name
        names = ", ".join(map(str, known)) or "none yet; add one in the admin"
        refuse(f"There is no environment {full_name!r}. Environments: {names}.")
    if len(found) > 1:
        projects = ", ".join(environment.project.name for environment in found)
        refuse(f"Several projects have {name}: add --project, one of {projects}.")
    return found[0]


def find_environments(name: str, project: str = "") -> list[Environment]:
    """Return the environment with this name, or all: those of a project, if one is named."""
    if name:
        return [find_environment(name, project)]
    return [each for each in all_environments() if project in ("", each.project.name)]
