"""What the confirmation page shows of one environment."""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from deploy_manager.admin.run_forms import RunForm
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Placement
from deploy_manager.recipes import Story
from deploy_manager.runner import Plan, make_plan


@dataclass(frozen=True)
class ServerLine:
    """A server of the environment, chosen or not, and the steps it would take."""

    placement: Placement
    chosen: bool
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Proposal:
    """One environment, its form, and the plan of what the form says."""

    environment: Environment
    form: RunForm
    plan: Plan | None
    servers: tuple[ServerLine, ...]
    problems: tuple[str, ...] = ()
    busy: Deployment | None = None
    """The live deployment that would refuse another one."""

    shown_ref: str = ""
    shown_servers: str = ""

    @property
    def can_run(self) -> bool:
        return not self.problems and self.busy is None


def propose(environment: Environment, story: Story, form: RunForm) -> Proposal:
    """Plan what a form says; what stands against it is told as problems."""
    plan, problems = _plan(environment, story, form)
    return Proposal(
        environment,
        form,
        plan,
        _server_lines(environment, form, plan),
        problems,
        Deployment.objects.live().filter(environment=environment).first(),
        shown_ref=form.ref_now if form.is_bound else environment.ref,
        shown_servers=",".join(form.servers_now),
    )


def _plan(
    environment: Environment, story: Story, form: RunForm
) -> tuple[Plan | None, tuple[str, ...]]:
    """The plan, and why it would fail; no plan where the form itself is wrong."""
    if form.is_bound and not form.is_valid():
        return None, tuple(str(line) for lines in form.errors.values() for line in lines)
    try:
        plan = make_plan(environment, story.name, form.ref_now, form.servers_now)
    except RequestRefused as error:
        return None, (str(error),)
    if not plan.servers:
        return plan, (_("No server chosen has a role that this is for."),)
    return plan, plan.problems


def _server_lines(
    environment: Environment, form: RunForm, plan: Plan | None
) -> tuple[ServerLine, ...]:
    steps = {server.placement.pk: server.steps for server in plan.servers} if plan else {}
    return tuple(
        ServerLine(
            placement,
            placement.server.name in form.servers_now,
            tuple(map(_, steps.get(placement.pk, ()))),
        )
        for placement in environment.placements.all()
    )
