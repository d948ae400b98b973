"""What the deployments of an upgrade proved: that servers serve its pins, or speak against them."""

from django.db.models import Exists, F, OuterRef, QuerySet

from deploy_manager.models import ROLLBACK_PHASE, Deployment, HostRun, State, Step
from deploy_manager.models.runs import ACTIVATE, is_verified
from deploy_manager.models.serving import WENT_BACK


def is_proven(deployment: Deployment) -> bool:
    """Whether all servers were verified: only what comes after, like a clean-up, did not succeed.

    A server that was taken out of the environment does not count.
    """
    runs = deployment.host_runs.exclude(placement=None).prefetch_related("steps")
    counted = [run for run in runs if not run.is_left_out]
    return bool(counted) and all(map(_is_verified, counted))


def _is_verified(run: HostRun) -> bool:
    steps = run.steps.all()
    return is_verified(steps) and all(step.state == State.SUCCEEDED for step in steps if step.gate)


def serves_in_the_end(deployment: Deployment) -> bool:
    """Whether all servers were verified by a deployment or its retries, and serve that still."""
    placements = deployment.environment.placements.exclude(active_release=None)
    if deployment.release is None or placements.exclude(active_release=deployment.release).exists():
        return False
    tried = _with_retries(deployment)
    if any(each.is_live for each in tried):
        return False
    runs = HostRun.objects.filter(deployment__in=tried).exclude(placement=None).order_by("pk")
    # The last run of each server stays: a retry has a higher key than what it retries.
    last = {run.placement_id: run for run in runs.prefetch_related("steps")}
    return bool(last) and all(map(_is_verified, last.values()))


def _with_retries(deployment: Deployment) -> list[Deployment]:
    """Return a deployment with its retries, and with those of these."""
    found, newest = [deployment], [deployment]
    while newest:
        known = [each.pk for each in found]
        newest = list(Deployment.objects.filter(retry_of__in=newest).exclude(pk__in=known))
        found += newest
    return found


def may_serve_unseen(deployment: Deployment) -> QuerySet[HostRun]:
    """Return servers that it switched, or may have, without anyone having looked since.

    The row of such a server says still what served before.
    """
    steps = Step.objects.filter(host_run=OuterRef("pk"), recipe=ACTIVATE)
    switch = steps.filter(state__in=[State.SUCCEEDED, State.LOST]).exclude(phase=ROLLBACK_PHASE)
    runs = deployment.host_runs.filter(
        Exists(switch), was_switched=False, placement__isnull=False
    ).exclude(WENT_BACK)
    # What was seen later is known; and where it was moved to, it was not switched.
    runs = runs.exclude(placement__seen_at__gt=F("finished_at"))
    return runs.exclude(placement__moved_at__gt=F("finished_at"))


def speaks_against_release(deployment: Deployment) -> bool:
    """Whether a deployment that did not succeed came as far as to try its release.

    A cancelled one says nothing, nor does one whose servers could not be worked on at all. Nor does
    one that succeeded, and goes because another environment failed.
    """
    if deployment.state in (State.CANCELLED, State.SUCCEEDED):
        return False
    commands = Step.objects.filter(host_run__deployment=deployment, exit_code__gt=0)
    return commands.exists() or deployment.host_runs.filter(was_switched=True).exists()
