"""Between two stages: the last shard to arrive looks at the rows and decides what comes next.

Everything here happens in one transaction that has the deployment's row locked, under the token of
the shard that arrived. No shard waits for another: who is not the last goes home, and is told by a
bell when there is something to do again.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Now

from deploy_manager.deployments.outcome import end_hosts, sum_up
from deploy_manager.deployments.rollout_state import RolloutState
from deploy_manager.models import BUSY, Deployment, Shard, ShardState, State, Step
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.overrides import end_overtaken


@dataclass(frozen=True)
class Verdict:
    """What a shard that arrived does next."""

    stage: int | None = None
    """The stage it goes on with; None: it goes home."""

    wake: tuple[int, ...] = field(default=())
    """Shards that have something to do now."""


def arrive(held: Shard) -> Verdict:
    """Note that a shard's hosts have ended the open stage, and open the next one after the last.

    Raises ClaimLost.
    """
    with brief_transaction():
        held.advance(1)
        deployment = Deployment.objects.get(pk=held.deployment_id)
        Shard.objects.filter(pk=held.pk).update(arrived=deployment.stage + 1)
        others = deployment.shards.filter(arrived__lte=deployment.stage)
        if others.exclude(state=ShardState.ENDED).exists():
            _send_home(held)
            return Verdict()
        return _go_on(deployment, held)


def open_after_pause(deployment_id: int) -> tuple[int, ...]:
    """Open the stage that a pause held back; return the shards to ring, none before its time."""
    with brief_transaction():
        due = Deployment.objects.filter(pk=deployment_id, state=State.RUNNING, opens_at__lte=Now())
        if not due.update(opens_at=None, sequence=F("sequence") + 1):
            return ()
        deployment = Deployment.objects.get(pk=deployment_id)
        return _go_on(deployment, None, has_paused=True).wake


def _go_on(deployment: Deployment, held: Shard | None, has_paused: bool = False) -> Verdict:
    rollout = RolloutState(deployment)
    if deployment.cancel_requested_at:
        end_hosts(
            deployment, State.CANCELLED, f"Cancelled by {deployment.cancel_requested_by_name}."
        )
        return _finish(deployment)
    if why := rollout.why_to_stop():
        _stop(deployment, rollout, why)
        rollout.look_again()
    stage = rollout.next_stage()
    if stage is None:
        return _finish(deployment)
    if not has_paused and rollout.pauses_before(stage):
        return _pause(deployment, held, rollout.pause)
    return _open(deployment, stage, held)


def _stop(deployment: Deployment, rollout: RolloutState, why: str) -> None:
    """Keep from the release whoever has not got it; bring the others back, if that is wanted."""
    end_hosts(deployment, State.SKIPPED, why, rollout.not_switched())
    if rollout.wants_back():
        rollout.turn_back()
        if deployment.release:
            deployment.release.mark_bad(why)


def _open(deployment: Deployment, stage: int, held: Shard | None) -> Verdict:
    """Let the shards with work in a stage begin it; the others count as arrived already."""
    Deployment.objects.filter(pk=deployment.pk).update(stage=stage)
    busy = set(
        Step.objects.filter(
            host_run__deployment=deployment,
            host_run__state__in=BUSY,
            state__in=BUSY,
            stage=stage,
        ).values_list("host_run__shard", flat=True)
    )
    shards = deployment.shards.exclude(state=ShardState.ENDED)
    shards.exclude(pk__in=busy).update(arrived=stage + 1)
    others = shards.filter(pk__in=busy - {held.pk} if held else busy)
    others.update(arrived=stage, state=ShardState.QUEUED, holder="", woken_at=None)
    wake = tuple(others.values_list("pk", flat=True))
    if held and held.pk in busy:
        return Verdict(stage, wake)
    if held:
        _send_home(held)
    return Verdict(None, wake)


def _send_home(held: Shard) -> None:
    held.held().update(state=ShardState.WAITING, holder="")


def _pause(deployment: Deployment, held: Shard | None, seconds: int) -> Verdict:
    pause = timedelta(seconds=seconds)
    Deployment.objects.filter(pk=deployment.pk).update(opens_at=Now() + pause)
    if held:
        _send_home(held)
    return Verdict()


def _finish(deployment: Deployment) -> Verdict:
    end_hosts(deployment, State.SUCCEEDED, "")
    state, message = sum_up(deployment)
    if deployment.end(state, message) and state is State.SUCCEEDED:
        end_overtaken(deployment)
    return Verdict()
