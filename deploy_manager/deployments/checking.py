"""Plans that are checked before they are requested, and requested as they were shown."""

from dataclasses import replace

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments import freezes
from deploy_manager.deployments.plan import Plan, make_plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Environment
from deploy_manager.recipes import Pipeline, Uses


def check_plan(
    environment: Environment, recipe: str, options: DeploymentOptions, *, asks_gate: bool = True
) -> Plan:
    """Return the plan. Raises RequestRefused if it would be bound to fail, and UnknownRecipe.

    An explicit ref is refused, not ignored, for a recipe that takes no code. `asks_gate`: what the
    code did not pass is refused, too, and not only shown.
    """
    # A commit that was resolved before is not resolved anew: its branch may have moved.
    commit = options.release.commit if options.release else options.commit
    ref, servers = options.ref, options.servers
    plan = make_plan(environment, recipe, ref, servers, options.release, commit, options.promotes)
    if options.ref and plan.pipeline.uses is not Uses.NEW:
        raise RequestRefused(_("%(recipe)s takes no code: leave out --ref."), recipe=recipe)
    if plan.problems:
        raise RequestRefused(Message.lines(*plan.problems))
    if asks_gate and (why := _why_not_through(plan, options)):
        raise RequestRefused(why)
    return plan


def _why_not_through(plan: Plan, options: DeploymentOptions) -> Message:
    """Return what the code did not pass, unless it may wait for that."""
    if options.breaks_glass:
        return Message()
    may_wait = options.waits or options.not_before is not None
    return plan.gate.refused or (Message() if may_wait else plan.gate.waits)


def as_planned(plan: Plan, options: DeploymentOptions) -> DeploymentOptions:
    """Return the options for exactly what a plan showed: its commit, what decides what runs, and
    the pins it takes back.

    To be called only after these were agreed to.
    """
    options = replace(
        options,
        take_back=[pin.as_json() for pin in plan.taken_back],
        shown=plan.decided.save().digest,
    )
    if plan.commit is None or options.release is not None or options.promotes is not None:
        return options
    # The branch may move between the plan and the request; the commit that was shown is deployed.
    return replace(options, commit=plan.commit.hash)


def why_not_now(
    environment: Environment, pipeline: Pipeline, options: DeploymentOptions
) -> Message:
    """Return what a request would have to wait for, or be refused for; blank: nothing."""
    now = timezone.now()
    try:
        why = freezes.why_not_now(environment, pipeline, max(options.not_before or now, now))
    except RequestRefused as error:
        return error.message
    busy = Deployment.objects.busy().filter(environment=environment).first()
    return why or (busy.describe_as_busy() if busy else Message())
