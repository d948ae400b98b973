"""The whole way of a server that was added, step by step: provisioned, checked, serving."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy_manager.cli.deployments.plan import PlanReport
from deploy_manager.cli.deployments.watching import request_and_watch
from deploy_manager.cli.exits import refusals, refuse
from deploy_manager.cli.packages.pins import agrees
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import View
from deploy_manager.deployments.checking import check_plan
from deploy_manager.deployments.choices import converge
from deploy_manager.deployments.provisioning import PREVIEW, PROVISION
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.deployments.site_tiers import servers_with_tiers
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment
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
    def with_code(self) -> list[str]:
        """Those of the servers that get releases."""
        places = self.environment.placements.filter(server__name__in=self.servers)
        return [each.server.name for each in places.select_related("server") if each.has_code]

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
    if names := addition.with_code:
        run_recipe(addition, "preflight", DeploymentOptions(servers=names))


def let_in(addition: Addition) -> None:
    """Let the new servers into databases and caches; their own web servers come before the site.

    What changes for that on other servers is shown first, and asked for. Raises CommandError,
    SystemExit.
    """
    if not (names := _servers_with_tiers(addition)):
        return
    options = DeploymentOptions(servers=names)
    if not addition.is_agreed:
        run_recipe(addition, "preview_tiers", options)
        if not agrees("Apply this? [y/N] ", addition.view):
            refuse("The tiers were not changed: to agree beforehand, add --yes.")
    run_recipe(addition, "apply_data_tiers", options)
    # Apache may be what runs the site there: without it the release could not be verified.
    if new := [name for name in names if name in addition.servers]:
        run_recipe(addition, "apply_web_tiers", DeploymentOptions(servers=new))


def bring_the_release(addition: Addition) -> None:
    """Make them serve what the others serve, never anything new. Raises CommandError, SystemExit.

    If nothing serves yet, a person says what is to be deployed.
    """
    environment, names = addition.environment, addition.with_code
    if not addition.converges or not names:
        return
    try:
        release = converge(environment, names).release
    except RequestRefused:
        addition.view.say(f"Nothing serves yet: now run manage.py deploy {environment}")
        return
    run_recipe(addition, CONVERGE, DeploymentOptions(servers=names, release=release))


def send_requests(addition: Addition) -> None:
    """Have web servers pass requests on to the new ones, too. Raises CommandError, SystemExit."""
    if names := _servers_with_tiers(addition):
        run_recipe(addition, "tiers", DeploymentOptions(servers=names))


def _servers_with_tiers(addition: Addition) -> list[str]:
    """Return the servers whose tiers know of the new ones; none if these are not to serve yet."""
    if not addition.converges:
        return []
    with refusals():
        return servers_with_tiers(addition.environment)


STEPS: tuple[Callable[[Addition], None], ...] = (
    preview,
    provision,
    preflight,
    let_in,
    bring_the_release,
    send_requests,
)
"""In this order; each ends the command if it does not succeed."""


def run_recipe(addition: Addition, recipe: str, options: DeploymentOptions | None = None) -> None:
    """Request a recipe on the servers and watch it. Raises CommandError, SystemExit."""
    environment, view = addition.environment, addition.view
    options = options or DeploymentOptions(servers=addition.servers)
    with refusals():
        plan = check_plan(environment, recipe, options)
    view.show(PlanReport(plan, options))
    request_and_watch(environment, recipe, options, view)
