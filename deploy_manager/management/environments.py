"""The environment that a command line means."""

from django.core.management import CommandError

from deploy_manager.models import Environment


def find_environment(name: str, project: str = "") -> Environment:
    """Return the environment meant by `production` or `shop/production`.

    `project` narrows a name that several projects have. Raises CommandError, which tells what
    there is, for a name that none has or that is ambiguous.
    """
    environments = Environment.objects.select_related("project")
    found = list(environments.named(name, project))
    if len(found) == 1:
        return found[0]
    if found:
        projects = ", ".join(environment.project.name for environment in found)
        raise CommandError(f"{name} is in several projects: say --project, one of {projects}.")
    asked = f"{project}/{name}" if project else name
    there_are = ", ".join(map(str, environments)) or "none yet; add one in the admin"
    raise CommandError(f"There is no environment {asked!r}. There are: {there_are}.")
