"""Reconcile: the periodic loop that makes rows true when messages get lost and workers die.

Any process may run it at any time. Nothing here depends on the broker, and two rounds at once do
no harm: each change is a conditional UPDATE that one of them wins.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.apps import apps
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from deploy_manager.deployments import announcing, retention, scheduling
from deploy_manager.deployments.approvals import expire, waiting_for_approval
from deploy_manager.deployments.beginning import why_never, why_wait_on
from deploy_manager.deployments.ending import finish
from deploy_manager.deployments.probing import forget_found_hosts, lost_hosts, probe
from deploy_manager.deployments.rollout import open_after_pause
from deploy_manager.deployments.run import Wake
from deploy_manager.isolation import job_round, one_by_one
from deploy_manager.models import (
    ConfirmedPlan,
    Deployment,
    Environment,
    Placement,
    Problem,
    Shard,
    ShardState,
    State,
)
from deploy_manager.models.deployments import DeploymentQuerySet
from deploy_manager.models.places import forget_moved
from deploy_manager.models.shards import LEASE, TAKEN_OVER_AT_MOST, ShardQuerySet
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages import resolutions
from deploy_manager.upgrades import (
    handing_back,
    policies,
    progress,
    stored,  # noqa: F401  answers questions about upgrades
)
from deploy_manager.upgrades.stage_deployments import follow_what_serves

WAKE_AGAIN_AFTER = timedelta(seconds=15)
GIVEN_UP_AFTER = LEASE + timedelta(seconds=15)
"""A holder that is silent for so long, and was not replaced, ends its deployment."""

GIVEN_UP_AT_LAST = timedelta(minutes=5)
"""The same while other shards are held: their workers take it over once they have a thread free."""

KEEPS_SHOWN = timedelta(days=30)
"""For so long what a page showed is kept, so that a change of it can be named."""

WOKEN, LOOKS = "woke workers again", "looked at lost servers"
ABANDONED, OPENED = "ended abandoned deployments", "opened waves"
OVERDUE, QUEUED = "ended overdue deployments", "queued waiting deployments"
UNAPPROVED = "ended deployments that nobody approved"
MOVED = "forgot what was seen of moved servers"
GONE = "deleted problems of deleted rows"

FELL_SILENT = gettext_noop("The worker that ran it fell silent, and no other one took it over.")


def reconcile(wake: Wake, look: Callable[[int], object] = probe) -> Counter[str]:
    """Do everything that is due; return how often each thing was done.

    `wake` wakes a worker for a shard, and `look` probes a lost host, here or in another process.
    First, lost messages are sent again and silent holders replaced. Then deployments that no worker
    takes over are ended, waves opened after their pause, schedules carried out, and waiting
    deployments queued if they may run. No job and no row of one stops the others: an error is kept
    as a Problem. Raises DatabaseError if the database is away.
    """
    done: Counter[str] = Counter()
    # The lost come last: without workers they are asked here, which may take long.
    for name, job in (JOBS | {LOOKS: partial(_look_at_the_lost, look=look)}).items():
        with job_round(name):
            done[name] = job(wake)
    return +done  # drops what was done no time


def _look_at_the_lost(wake: Wake, look: Callable[[int], object]) -> int:
    lost = lost_hosts().select_related("deployment")
    looked = one_by_one(LOOKS, lost, lambda run: look(run.pk), "deployment__environment")
    forget_found_hosts()
    return sum(1 for found in looked if found is not None)


def end_the_abandoned(wake: Wake) -> int:
    """End deployments whose holder is silent and was not replaced: their servers are unknown."""

    def end_if_abandoned(deployment: Deployment) -> bool:
        with brief_transaction():
            if not Deployment.objects.lock(deployment.pk):
                return False
            # Asked again under the lock: a worker may have taken it over by now.
            if not _abandoned().filter(deployment=deployment).exists():
                return False
            return finish(Deployment.objects.get(pk=deployment.pk), State.LOST, FELL_SILENT)

    abandoned = Deployment.objects.filter(pk__in=_abandoned().values("deployment"))
    return sum(one_by_one(ABANDONED, abandoned, end_if_abandoned, "environment"))


def _abandoned() -> ShardQuerySet:
    """Silent shards that no worker takes over; messages may queue while workers are busy."""
    at_work = Shard.objects.filter(state=ShardState.HELD, beat_at__gt=Now() - LEASE).exists()
    silent = Shard.objects.silent(GIVEN_UP_AT_LAST if at_work else GIVEN_UP_AFTER)
    used_up = Shard.objects.silent().filter(taken_over__gte=TAKEN_OVER_AT_MOST)
    return silent | used_up


def open_waves(wake: Wake) -> int:
    """Begin waves whose pause is over."""
    due = Deployment.objects.filter(state=State.RUNNING, opens_at__lte=Now())

    def open_it(deployment: Deployment) -> int:
        # None counts as woken: only a `wake` that can fail says False.
        return sum(1 for pk in open_after_pause(deployment.pk) if wake(pk) is not False)

    return sum(one_by_one(OPENED, due, open_it, "environment"))


def promote_waiting(wake: Wake) -> int:
    """Queue waiting deployments that may run now, the oldest of an environment first."""
    return sum(_promote_all(Deployment.objects.all(), wake))


def promote_next(environment: Environment, wake: Wake) -> bool:
    """Queue the oldest deployment that waits for this environment and may run now."""
    return any(_promote_all(Deployment.objects.filter(environment=environment), wake))


def _promote_all(among: DeploymentQuerySet, wake: Wake) -> list[bool]:
    def promote(deployment: Deployment) -> bool:
        environment = deployment.environment
        if why := why_never(deployment):
            deployment.give_way(why)
            return False
        if why := why_wait_on(deployment):
            Deployment.objects.note_wait(deployment.pk, why)
            return False
        follow_what_serves(deployment)
        if not Deployment.objects.promote(deployment.pk):
            if holder := Deployment.objects.busy().filter(environment=environment).first():
                Deployment.objects.note_wait(deployment.pk, holder.describe_as_busy())
            return False
        _wake_for(deployment, wake)
        progress.note_begin(deployment)
        return True

    waiting = among.filter(state=State.WAITING).select_related("environment__project")
    return one_by_one(QUEUED, waiting.order_by("created_at", "pk"), promote, "environment")


def forget_the_moved(wake: Wake) -> int:
    """Forget what was seen of placements that were moved around the models."""

    def forget(placement: Placement) -> int:
        return forget_moved(placement.pk)

    return sum(one_by_one(MOVED, Placement.objects.moved(), forget, "environment"))


def end_the_overdue(wake: Wake) -> int:
    """End deployments that did not begin by their deadline."""
    waiting = Q(state__in=[State.WAITING, State.QUEUED])
    overdue = Deployment.objects.filter(waiting, deadline__lt=Now())
    return sum(one_by_one(OVERDUE, overdue, Deployment.pass_by, "environment"))


def end_the_unapproved(wake: Wake) -> int:
    """End deployments that too few people approved in time: that counts as denied."""
    late = waiting_for_approval().filter(approve_by__lt=Now())
    return sum(one_by_one(UNAPPROVED, late, expire, "environment"))


def wake_again(wake: Wake) -> int:
    """Wake workers for shards that none has claimed, or whose holder is silent; see _abandoned."""
    given_up = list(_abandoned().values_list("deployment", flat=True))
    return wake_for_shards(Shard.objects.exclude(deployment__in=given_up), wake)


def wake_for_shards(shards: ShardQuerySet, wake: Wake) -> int:
    """Wake workers for shards that may be claimed, if that was not done just now."""

    def wake_for(shard: Shard) -> bool:
        due = Shard.objects.mark_woken(shard.pk, WAKE_AGAIN_AFTER)
        return due and wake(shard.pk) is not False

    return sum(one_by_one(WOKEN, shards.to_claim(), wake_for, "deployment__environment"))


def _wake_for(deployment: Deployment, wake: Wake) -> int:
    return wake_for_shards(Shard.objects.filter(deployment=deployment), wake)


def _forget_what_is_gone(wake: Wake) -> int:
    """Delete the problems of rows, and of models, that do not exist any more; and unused plans."""
    ours = apps.get_app_config("deploy_manager").get_models()
    models = {str(model._meta.model_name): model for model in ours}
    about_rows = Problem.objects.exclude(kind="")
    about_rows.exclude(kind__in=models).delete()
    for kind in set(about_rows.values_list("kind", flat=True)):
        there = models[kind]._default_manager.values("pk")
        Problem.objects.filter(kind=kind).exclude(key__in=there).delete()
    ConfirmedPlan.objects.unused(Now() - KEEPS_SHOWN).delete()
    return 0


JOBS: dict[str, Callable[[Wake], int]] = {
    WOKEN: wake_again,
    ABANDONED: end_the_abandoned,
    OPENED: open_waves,
    OVERDUE: end_the_overdue,
    UNAPPROVED: end_the_unapproved,
    scheduling.JOB: lambda wake: len(
        scheduling.write_due_deployments(wake=lambda made: _wake_for(made, wake))
    ),
    policies.JOB: lambda wake: len(policies.run_due_policies()) + policies.wake_for_waiting_runs(),
    resolutions.JOB: lambda wake: resolutions.keep_answering(),
    progress.JOB: lambda wake: progress.advance_all(lambda made: _wake_for(made, wake)),
    handing_back.JOB: lambda wake: handing_back.hand_back_what_succeeded(),
    QUEUED: promote_waiting,
    MOVED: forget_the_moved,
    announcing.JOB: lambda wake: announcing.keep_announcing(),
    GONE: _forget_what_is_gone,
    retention.JOB: lambda wake: retention.keep_retention(),
}
"""In this order: workers are woken before anything is read that people wrote."""
