"""Finding the deployment that an argument names: by its number, or by its environment."""

import re

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.inventory.environments import all_environments, find_environment
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.models.deployments import DeploymentQuerySet

# No more digits than a BigAutoField holds: a longer number would make the database fail.
NUMBER = re.compile(r"#?([0-9]{1,18})", re.ASCII)


def find_deployment(name: str, project: str = "") -> Deployment:
    """Return the deployment with this number, or the newest of the environment with this name.

    A blank name means the only environment there is. Raises CommandError.
    """
    if found := _find_by_number(name):
        return found
    environment = _find_environment(name, project)
    latest = _deployments().filter(environment=environment).first()
    if latest is None:
        refuse(f"Nothing has been run on {environment} yet.")
    return latest


def find_live_deployment(name: str, project: str = "") -> Deployment:
    """Return the deployment with this number, or the one that is under way on an environment.

    If none is under way, the only one that waits. Raises CommandError.
    """
    if found := _find_by_number(name):
        return found
    environment = _find_environment(name, project)
    live = list(_deployments().live().filter(environment=environment))
    under_way = [each for each in live if each.state != State.WAITING] or live
    if not under_way:
        refuse(f"Nothing is under way on {environment}.")
    if len(under_way) > 1:
        numbers = ", ".join(str(each.pk) for each in under_way)
        refuse(f"Several deployments wait on {environment}. Name one by its number: {numbers}.")
    return under_way[0]


def _find_by_number(name: str) -> Deployment | None:
    number = NUMBER.fullmatch(name)
    if number is None:
        return None
    found = _deployments().filter(pk=int(number[1])).first()
    if found is None:
        refuse(f"There is no deployment #{number[1]}.")
    return found


def _deployments() -> DeploymentQuerySet:
    return Deployment.objects.select_related("environment__project", "release")


def _find_environment(name: str, project: str) -> Environment:
    if name:
        return find_environment(name, project)
    environments = all_environments()
    if len(environments) != 1:
        known = ", ".join(map(str, environments))
        refuse(f"Name an environment or the number of a deployment. Environments: {known}.")
    return environments[0]
