"""The whole way of a server that was added, step by step: provisioned, checked, serving."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy_manager import dispatch
from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.deployments.plan import PlanReport, check_plan
from deploy_manager.cli.deployments.watching import show_how_to_retry, show_request, watch
from deploy_manager.cli.exits import FAILED, refusals, refuse
from deploy_manager.cli.packages.pins import agrees
from deploy_manager.cli.requester import requester_name
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import View
from deploy_manager.deployments.choices import converge
from deploy_manager.deployments.provisioning import PREVIEW, PROVISION
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, State
from deploy_manager.models.deployments import CONVERGE


@dataclass(frozen=True)
class Addition:
    """Servers of an environment that were added, and how the person wants to be asked."""

    environment: Environment
    servers: Sequence[str]
    view: View
    is_agreed: bool = False
    """Whether what the preview shows is agreed to beforehand."""

    converges: bool = True

    @property
    def names(self) -> str:
        return clean(shorten(self.servers))


def preview(addition: Addition) -> None:
    """Show what would change, and ask. Raises CommandError, SystemExit."""
    run_recipe(addition, PREVIEW)
    question = f"Provision {addition.names}? [y/N] "
    if not addition.is_agreed and not agrees(question, addition.view):
        refuse(f"{addition.names} was not provisioned: to agree beforehand, add --yes.")


def provision(addition: Addition) -> None:
    """Make the servers what the site needs. Raises CommandError, SystemExit."""
    run_recipe(addition, PROVISION)


def preflight(addition: Addition) -> None:
    """Check, as the account that deploys, that they are ready. Raises CommandError, SystemExit."""
    run_recipe(addition, "preflight")


def bring_the_release(addition: Addition) -> None:
    """Make them serve what the others serve, never anything new. Raises CommandError, SystemExit.

    If nothing serves yet, a person says what is to be deployed.
    """
    environment = addition.environment
    if not addition.converges:
        return
    try:
        release = converge(environment, addition.servers).release
    except RequestRefused:
        addition.view.say(f"Nothing serves yet: now run manage.py deploy {environment}")
        return
    run_recipe(addition, CONVERGE, DeploymentOptions(servers=addition.servers, release=release))


STEPS: tuple[Callable[[Addition], None], ...] = (
    preview,
    provision,
    preflight,
    bring_the_release,
)
"""In this order; each ends the command if it does not succeed."""


def run_recipe(addition: Addition, recipe: str, options: DeploymentOptions | None = None) -> None:
    """Request a recipe on the servers and watch it. Raises CommandError, SystemExit."""
    environment, view = addition.environment, addition.view
    options = options or DeploymentOptions(servers=addition.servers)
    view.show(PlanReport(check_plan(environment, recipe, options), options))
    interrupts = Interrupts()
    with interrupts.noted():
        with refusals():
            deployment = dispatch.request(
                environment,
                recipe,
                source="manage.py",
                requested_by_name=requester_name(),
                options=options,
            )
        show_request(deployment, view)
        ended = watch(deployment, view, interrupts)
        show_how_to_retry(ended, f"manage.py retry {ended.pk}", view)
    if ended.state != State.SUCCEEDED:
        sys.exit(FAILED)
