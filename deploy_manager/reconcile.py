"""The loop that keeps rows true when messages get lost and workers die.

Any process may run it at any time. Nothing here depends on the broker, and two rounds at once do
no harm: each change is a conditional UPDATE that one of them wins.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from django.apps import apps
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_noop

from deploy_manager.deployments.barrier import open_after_pause
from deploy_manager.deployments.freezes import why_not_now
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.probing import forget_found_hosts, lost_hosts, probe
from deploy_manager.deployments.run import Wake
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.isolation import job_round, one_by_one
from deploy_manager.models import Deployment, Environment, Problem, Shard, ShardState, State
from deploy_manager.models.deployments import DeploymentQuerySet
from deploy_manager.models.shards import LEASE, TAKEN_OVER_AT_MOST, ShardQuerySet
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.resolutions import keep_answering
from deploy_manager.upgrades import stored  # noqa: F401  answers questions about upgrades
from deploy_manager.upgrades.handing_back import hand_back_what_succeeded
from deploy_manager.upgrades.policies import run_due_policies, wake_for_waiting_runs
from deploy_manager.upgrades.progress import advance_all

WAKE_AGAIN_AFTER = timedelta(seconds=15)
GIVEN_UP_AFTER = LEASE + timedelta(seconds=15)
"""A holder that was silent for so long, and that nobody took over from, ends its deployment."""

GIVEN_UP_AT_LAST = timedelta(minutes=5)
"""The same while other shards are held: their workers come to it when they have a thread free."""

WOKEN, LOOKS = "rang again", "looked at lost servers"

FELL_SILENT = gettext_noop("The worker that ran it fell silent, and no other took it up.")


def reconcile(wake: Wake, look: Callable[[int], object] = probe) -> Counter[str]:
    """Mend what can be mended; return how often each thing was done.

    `ring` tells a worker of a shard, and `look` finds out about a lost host, here or elsewhere.
    First of all bells that were lost are rung again and silent holders replaced. Then what nobody
    replaces is ended, pauses that are over are too, due schedules are written, and what waits is
    queued when it may run. No job and no row of one keeps another from being done: what goes wrong
    is kept as a Problem. Raises DatabaseError where the database is away.
    """
    done: Counter[str] = Counter()
    for name, job in (JOBS | {LOOKS: partial(_look_at_the_lost, look=look)}).items():
        with job_round(name):
            done[name] = job(wake)
    return +done


def _look_at_the_lost(wake: Wake, look: Callable[[int], object]) -> int:
    lost = lost_hosts().select_related("deployment")
    looked = one_by_one(LOOKS, lost, lambda run: look(run.pk), "deployment__environment")
    forget_found_hosts()
    return sum(1 for found in looked if found is not None)


def end_the_abandoned(wake: Wake) -> int:
    """End deployments whose holder is silent and was not replaced: their servers are unknown."""
    abandoned = Deployment.objects.filter(pk__in=_abandoned().values("deployment"))
    return sum(
        one_by_one(
            "ended what nobody took up",
            abandoned,
            lambda deployment: _end_if_abandoned(deployment.pk),
            "environment",
        )
    )


def _abandoned() -> ShardQuerySet:
    """Shards that nobody takes up; while workers are busy elsewhere, bells may stand in line."""
    at_work = Shard.objects.filter(state=ShardState.HELD, beat_at__gt=Now() - LEASE).exists()
    silent = Shard.objects.silent(GIVEN_UP_AT_LAST if at_work else GIVEN_UP_AFTER)
    used_up = Shard.objects.silent().filter(taken_over__gte=TAKEN_OVER_AT_MOST)
    return silent | used_up


def _end_if_abandoned(deployment_id: int) -> bool:
    with brief_transaction():
        if not Deployment.objects.lock(deployment_id):
            return False
        if not _abandoned().filter(deployment=deployment_id).exists():
            return False
        return Deployment.objects.get(pk=deployment_id).end(State.LOST, FELL_SILENT)


def open_waves(wake: Wake) -> int:
    """Begin waves whose pause is over."""
    due = Deployment.objects.filter(state=State.RUNNING, opens_at__lte=Now())

    def open_it(deployment: Deployment) -> int:
        return _wake_all(wake, open_after_pause(deployment.pk))

    return sum(one_by_one("opened waves", due, open_it, "environment"))


def promote_waiting(wake: Wake) -> int:
    """Queue what waits and may run now, the oldest of an environment first."""
    return sum(_promote_all(Deployment.objects.all(), wake))


def promote_next(environment: Environment, wake: Wake) -> bool:
    """Queue the oldest deployment that waits for this environment and may run now."""
    return any(_promote_all(Deployment.objects.filter(environment=environment), wake))


def _promote_all(among: DeploymentQuerySet, wake: Wake) -> list[bool]:
    waiting = among.filter(state=State.WAITING).select_related("environment__project")
    in_turn = waiting.order_by("created_at", "pk")
    return one_by_one(
        "queued what waited", in_turn, lambda each: _promote(each, wake), "environment"
    )


def _promote(deployment: Deployment, wake: Wake) -> bool:
    if not _may_begin(deployment) or not Deployment.objects.promote(deployment.pk):
        return False
    wake_for_shards(Shard.objects.filter(deployment=deployment), wake)
    return True


def _may_begin(deployment: Deployment) -> bool:
    now = timezone.now()
    if deployment.not_before and deployment.not_before > now:
        return False
    pipeline = pipeline_for(deployment.environment, deployment.recipe)
    return not why_not_now(deployment.environment, pipeline, now)


def end_the_overdue(wake: Wake) -> int:
    """End what did not begin by its deadline."""
    waiting = Q(state__in=[State.WAITING, State.QUEUED])
    overdue = Deployment.objects.filter(waiting, deadline__lt=Now())
    pass_by = Deployment.pass_by
    return sum(one_by_one("ended what was overdue", overdue, pass_by, "environment"))


def wake_again(wake: Wake) -> int:
    """Ring for what nobody claimed, and for what a silent holder held; not for what is given up."""
    given_up = list(_abandoned().values_list("deployment", flat=True))
    return wake_for_shards(Shard.objects.exclude(deployment__in=given_up), wake)


def wake_for_shards(shards: ShardQuerySet, wake: Wake) -> int:
    """Ring for shards that were not rung for a while."""

    def wake_for(shard_: Shard) -> bool:
        due = Shard.objects.mark_woken(shard_.pk, WAKE_AGAIN_AFTER)
        return due and wake(shard_.pk) is not False

    return sum(one_by_one(WOKEN, shards.to_claim(), wake_for, "deployment__environment"))


def _wake_all(wake: Wake, shards: Iterable[int]) -> int:
    return sum(1 for pk in shards if wake(pk) is not False)


def _advance_upgrades(wake: Wake) -> int:
    return advance_all(
        lambda deployment: wake_for_shards(Shard.objects.filter(deployment=deployment), wake)
    )


def _write_schedules(wake: Wake) -> int:
    return len(
        write_due_deployments(
            wake=lambda made: wake_for_shards(Shard.objects.filter(deployment=made), wake)
        )
    )


def _hand_back(wake: Wake) -> int:
    return hand_back_what_succeeded()


def _run_policies(wake: Wake) -> int:
    return len(run_due_policies()) + wake_for_waiting_runs()


def _keep_answering(wake: Wake) -> int:
    return keep_answering()


def _forget_what_is_gone(wake: Wake) -> int:
    """Forget what was wrong with rows that are there no more, and with tables that are not."""
    ours = apps.get_app_config("deploy_manager").get_models()
    models = {str(model._meta.model_name): model for model in ours}
    about_rows = Problem.objects.exclude(kind="")
    about_rows.exclude(kind__in=models).delete()
    for kind in set(about_rows.values_list("kind", flat=True)):
        there = models[kind]._default_manager.values("pk")
        Problem.objects.filter(kind=kind).exclude(key__in=there).delete()
    return 0


JOBS: dict[str, Callable[[Wake], int]] = {
    WOKEN: wake_again,
    "ended what nobody took up": end_the_abandoned,
    "opened waves": open_waves,
    "ended what was overdue": end_the_overdue,
    "wrote what was due": _write_schedules,
    "ran policies": _run_policies,
    "had questions answered": _keep_answering,
    "went on with upgrades": _advance_upgrades,
    "handed pins back": _hand_back,
    "queued what waited": promote_waiting,
    "forgot what is gone": _forget_what_is_gone,
}
"""In their turn: what wakes workers comes before anything that reads what people wrote."""
