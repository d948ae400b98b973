"""What keeps the rows true when bells get lost and workers die. Any process may sweep at any time.

Nothing here depends on the broker, and two sweeps at once do no harm: each change is a conditional
UPDATE that one of them wins.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_noop

from deploy_manager.exceptions import DeployManagerError, UnknownRecipe
from deploy_manager.models import Deployment, Environment, Slice, SliceState, State
from deploy_manager.models.brief import brief_transaction
from deploy_manager.models.slices import LEASE, TAKEN_OVER_AT_MOST, SliceQuerySet
from deploy_manager.runner.barrier import open_after_pause
from deploy_manager.runner.probing import lost_hosts, probe
from deploy_manager.runner.resolving import keep_answering
from deploy_manager.runner.run import Bell
from deploy_manager.runner.scheduling import write_due_deployments
from deploy_manager.runner.stories import story_for
from deploy_manager.runner.times import why_not_now
from deploy_manager.runner.upgrades.handing_back import hand_back_what_succeeded
from deploy_manager.runner.upgrades.policies import ring_waiting_runs, run_due_policies
from deploy_manager.runner.upgrades.progress import advance_all

logger = logging.getLogger(__name__)

RING_AGAIN_AFTER = timedelta(seconds=15)
GIVEN_UP_AFTER = LEASE + timedelta(seconds=15)
"""A holder that was silent for so long, and that nobody took over from, ends its deployment."""

GIVEN_UP_AT_LAST = timedelta(minutes=5)
"""The same while other slices are held: their workers come to it when they have a thread free."""

FELL_SILENT = gettext_noop("The worker that ran it fell silent, and no other took it up.")


def sweep(ring: Bell, look: Callable[[int], object] = probe) -> Counter[str]:
    """Mend what can be mended; return how often each thing was done.

    `ring` tells a worker of a slice, and `look` finds out about a lost host, here or elsewhere.
    Pauses that are over are ended, what waits is queued when it may run, due schedules are written,
    bells that were lost are rung again, silent holders are replaced, and what nobody replaces is
    ended.
    """
    done: Counter[str] = Counter()
    for name, job in JOBS.items():
        try:
            done[name] = job(ring)
        except DeployManagerError as error:
            # One environment that can't be read must not keep the others waiting.
            logger.warning("The sweep could not do “%s”: %s", name, error)
    done["looked at lost servers"] = sum(1 for run in lost_hosts() if look(run.pk) is not None)
    return +done


def end_the_abandoned(ring: Bell) -> int:
    """End deployments whose holder is silent and was not replaced: their servers are unknown."""
    return sum(
        _end_if_abandoned(pk) for pk in set(_abandoned().values_list("deployment", flat=True))
    )


def _abandoned() -> SliceQuerySet:
    """Slices that nobody takes up; while workers are busy elsewhere, bells may stand in line."""
    at_work = Slice.objects.filter(state=SliceState.HELD, beat_at__gt=Now() - LEASE).exists()
    silent = Slice.objects.silent(GIVEN_UP_AT_LAST if at_work else GIVEN_UP_AFTER)
    used_up = Slice.objects.silent().filter(taken_over__gte=TAKEN_OVER_AT_MOST)
    return silent | used_up


def _end_if_abandoned(deployment_id: int) -> bool:
    with brief_transaction():
        if not Deployment.objects.lock(deployment_id):
            return False
        if not _abandoned().filter(deployment=deployment_id).exists():
            return False
        return Deployment.objects.get(pk=deployment_id).end(State.LOST, FELL_SILENT)


def open_waves(ring: Bell) -> int:
    """Begin waves whose pause is over."""
    due = Deployment.objects.filter(state=State.RUNNING, opens_at__lte=Now())
    return _ring_all(ring, (pk for each in due for pk in open_after_pause(each.pk)))


def promote_waiting(ring: Bell) -> int:
    """Queue what waits and may run now, the oldest of an environment first."""
    waiting = Deployment.objects.filter(state=State.WAITING).select_related("environment__project")
    return sum(_promote(each, ring) for each in waiting.order_by("created_at", "pk"))


def promote_next(environment: Environment, ring: Bell) -> bool:
    """Queue the oldest deployment that waits for this environment and may run now."""
    waiting = Deployment.objects.filter(state=State.WAITING, environment=environment)
    return any(_promote(each, ring) for each in waiting.order_by("created_at", "pk"))


def _promote(deployment: Deployment, ring: Bell) -> bool:
    if not _may_begin(deployment) or not Deployment.objects.promote(deployment.pk):
        return False
    ring_slices(Slice.objects.filter(deployment=deployment), ring)
    return True


def _may_begin(deployment: Deployment) -> bool:
    now = timezone.now()
    if deployment.not_before and deployment.not_before > now:
        return False
    try:
        story = story_for(deployment.environment, deployment.recipe)
    except UnknownRecipe as error:
        # A recipe that is gone must not keep other environments waiting.
        logger.warning("%s can't begin: %s", deployment, error)
        return False
    return not why_not_now(deployment.environment, story, now)


def end_the_overdue(ring: Bell) -> int:
    """End what did not begin by its deadline."""
    waiting = Q(state__in=[State.WAITING, State.QUEUED])
    overdue = Deployment.objects.filter(waiting, deadline__lt=Now())
    return sum(each.pass_by() for each in overdue)


def ring_again(ring: Bell) -> int:
    """Ring for what nobody claimed, and for what a silent holder held."""
    return ring_slices(Slice.objects.to_claim(), ring)


def ring_slices(slices: SliceQuerySet, ring: Bell) -> int:
    """Ring for slices that were not rung for a while."""
    return _ring_all(
        ring,
        (
            pk
            for pk in slices.to_claim().values_list("pk", flat=True)
            if Slice.objects.mark_rung(pk, RING_AGAIN_AFTER)
        ),
    )


def _ring_all(ring: Bell, slices: Iterable[int]) -> int:
    return sum(1 for pk in slices if ring(pk) is not False)


def _advance_upgrades(ring: Bell) -> int:
    return advance_all(
        lambda deployment: ring_slices(Slice.objects.filter(deployment=deployment), ring)
    )


def _write_schedules(ring: Bell) -> int:
    written = write_due_deployments()
    for deployment in written:
        ring_slices(Slice.objects.filter(deployment=deployment), ring)
    return len(written)


def _hand_back(ring: Bell) -> int:
    return hand_back_what_succeeded()


def _run_policies(ring: Bell) -> int:
    return len(run_due_policies()) + ring_waiting_runs()


def _keep_answering(ring: Bell) -> int:
    return keep_answering()


JOBS: dict[str, Callable[[Bell], int]] = {
    "ended what nobody took up": end_the_abandoned,
    "ended what was overdue": end_the_overdue,
    "wrote what was due": _write_schedules,
    "ran policies": _run_policies,
    "had questions answered": _keep_answering,
    "went on with upgrades": _advance_upgrades,
    "handed pins back": _hand_back,
    "queued what waited": promote_waiting,
    "opened waves": open_waves,
    "rang again": ring_again,
}
