"""Servers that left the environment before their deployment began: it begins without them."""

from django.db.models.functions import Now
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.waves import plan_steps
from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import BUSY, Deployment, HostRun, Placement, Shard, State, Step
from deploy_manager.models.runs import NO_ROLE, SERVER_REMOVED, end_hosts, write_steps
from deploy_manager.models.transactions import brief_transaction

# HostRun.is_left_out knows them by their reasons: such a host counts as no failure.
LEFT_OUT = Message(
    _("Left out: it was taken out of the environment before this could begin."), SERVER_REMOVED
)
WITHOUT_ROLE = Message(
    _("Left out: its roles were changed, and nothing of this runs on it any more."), NO_ROLE
)


def leave_out_who_left(held: Shard) -> None:
    """End the hosts of a deployment whose servers have left, and plan it for those that stay.

    To be called before anything has begun. Raises ClaimLost, InvalidRow, UnknownRecipe, and
    RequestRefused if no server is left.
    """
    deployment = held.deployment
    gone: list[HostRun] = []
    stay: dict[Placement, HostRun] = {}
    hosts = deployment.host_runs.filter(state__in=BUSY)
    for run in hosts.select_related("placement__server").order_by("pk"):
        # A placement that was given to another environment has left, too.
        if run.placement and run.placement.environment_id == deployment.environment_id:
            stay[run.placement] = run
        else:
            gone.append(run)
    if not gone:
        return
    if not stay:
        raise RequestRefused(
            _("Every server that this was requested for has left %(site)s."),
            site=deployment.environment,
        )
    with brief_transaction():
        sequence = held.advance(1) + 1
        idle = _plan_again(deployment, stay, sequence)
        end_hosts(gone, State.CANCELLED, LEFT_OUT, finished_at=Now(), sequence=sequence)
        end_hosts(idle, State.CANCELLED, WITHOUT_ROLE, finished_at=Now(), sequence=sequence)
        if len(idle) == len(stay):
            raise RequestRefused(_("No server that is left has a role for this recipe."))


def _plan_again(
    deployment: Deployment, stay: dict[Placement, HostRun], sequence: int
) -> list[HostRun]:
    """Write anew the steps of the servers that stay, and of no recipe that was not requested.

    Returns the hosts that have none, since the roles of their servers were changed meanwhile.

    Who left may have been the canary, or the one that was to migrate for all.
    """
    steps = Step.objects.filter(host_run__deployment=deployment)
    asked = set(steps.values_list("recipe", flat=True))
    pipeline = pipeline_for(deployment.environment, deployment.recipe)
    planned = plan_steps(pipeline, deployment.environment, list(stay))
    planned = planned.without({recipe.name for recipe in pipeline.recipes} - asked)
    # Of those that stay only: the others keep theirs, which end as they do.
    steps.filter(host_run__in=stay.values()).delete()
    written = {run: planned.steps.get(placement, ()) for placement, run in stay.items()}
    write_steps(written, sequence)
    for placement, run in stay.items():
        HostRun.objects.filter(pk=run.pk).update(wave=planned.waves.get(placement, 1))
    return [run for run, steps in written.items() if not steps]
