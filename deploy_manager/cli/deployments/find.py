"""The deployment that a command line means: by its number, or as an environment's latest."""

import re

from deploy_manager.cli.asking import refuse
from deploy_manager.cli.inventory.environments import all_environments, find_environment
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.models.deployments import DeploymentQuerySet

NUMBER = re.compile(r"#?([0-9]{1,18})", re.ASCII)


def find_deployment(words: str, project: str = "") -> Deployment:
    """Return the deployment of this number, or the newest of the environment of this name.

    Blank words mean the only environment there is. Raises CommandError.
    """
    if found := _numbered(words):
        return found
    environment = _find_environment(words, project)
    latest = _all().filter(environment=environment).first()
    if latest is None:
        refuse(f"Nothing was run on {environment} yet.")
    return latest


def find_live_deployment(words: str, project: str = "") -> Deployment:
    """Return the deployment of this number, or the one that is under way on an environment.

    Where none is under way: the only one that waits. Raises CommandError.
    """
    if found := _numbered(words):
        return found
    environment = _find_environment(words, project)
    live = list(_all().live().filter(environment=environment))
    under_way = [each for each in live if each.state != State.WAITING] or live
    if not under_way:
        refuse(f"Nothing is under way on {environment}.")
    if len(under_way) > 1:
        numbers = ", ".join(str(each.pk) for each in under_way)
        refuse(f"Several wait on {environment}: say which one, {numbers}.")
    return under_way[0]


def _numbered(words: str) -> Deployment | None:
    number = NUMBER.fullmatch(words)
    if number is None:
        return None
    found = _all().filter(pk=int(number[1])).first()
    if found is None:
        refuse(f"There is no deployment #{number[1]}.")
    return found


def _all() -> DeploymentQuerySet:
    return Deployment.objects.select_related("environment__project", "release")


def _find_environment(words: str, project: str) -> Environment:
    if words:
        return find_environment(words, project)
    there = all_environments()
    if len(there) != 1:
        refuse(f"Say where, or a deployment's number. There are: {', '.join(map(str, there))}.")
    return there[0]
