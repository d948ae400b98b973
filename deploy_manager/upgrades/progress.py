"""Advance upgrades from stage to stage, by how their deployments ended.

Any process that sees a deployment end advances its upgrade, and so does the reconcile loop: every
transition is a conditional UPDATE that one of them wins. Nothing is kept in memory in between.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.confirming import confirming_own_edits
from deploy_manager.deployments.probing import PROBES_FOR
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.isolation import one_by_one
from deploy_manager.messages import Message
from deploy_manager.models import (
    UPGRADE_LIVE,
    Deployment,
    OnFailure,
    Release,
    State,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.upgrades.later import at_work_beside, held_up, leave_out_of_later
from deploy_manager.upgrades.overriding import note_overrides, return_overrides
from deploy_manager.upgrades.proofs import (
    is_proven,
    may_serve_unseen,
    serves_in_the_end,
    speaks_against_release,
)
from deploy_manager.upgrades.returning import list_returned, list_upgraded, plan_return
from deploy_manager.upgrades.stage_deployments import (
    deploy_stage,
    reason_of,
    refuse_what_changed_of,
    request_for,
)

JOB = "went on with upgrades"
"""Its name among the jobs of the reconcile loop."""

NOT_BEGUN = Message(
    _("Nothing was changed here: an earlier environment failed."), "earlier_environment_failed"
)
CANCELLED_BEFORE = Message(
    _("Nothing was changed here: the upgrade was cancelled in an earlier environment."),
    "cancelled",
)
NONE_SWITCHED = Message(_("No server was switched."))
NOTHING_LEFT = Message(_("There is nothing to take back there: no server was touched."))
GOES_BACK_LATER = _("It is rolled back once upgrade %(upgrade)s has ended there.")


def upgrade_of(deployment: Deployment) -> int | None:
    """Return the id of the upgrade that a deployment, or what it retries, belongs to; or None."""
    for tried in deployment.with_what_it_retries():
        mine = UpgradeStage.objects.filter(Q(deployment=tried) | Q(returned_by=tried))
        if found := mine.values_list("upgrade", flat=True).first():
            return found
    return None


def advance_all(wake: Callable[[Deployment], object]) -> int:
    """Advance every live upgrade; return how many deployments that wrote."""

    def advance(upgrade: Upgrade) -> int:
        written = advance_upgrade(upgrade.pk)
        for deployment in written:
            wake(deployment)
        return len(written)

    # distinct(), since the joins find an upgrade once for each of its hosts and retries.
    due = Upgrade.objects.filter(Q(state__in=UPGRADE_LIVE) | _may_be_corrected()).distinct()
    return sum(one_by_one(JOB, due.order_by("pk"), advance))


def _may_be_corrected() -> Q:
    """The failed ones of which a lost server was looked at, or a return was retried, of late."""
    changed = (
        Q(stages__deployment__host_runs__probed_at__isnull=False)
        | Q(stages__returned_by__host_runs__probed_at__isnull=False)
        | Q(stages__returned_by__retries__isnull=False)
    )
    return changed & Q(stages__state=UpgradeState.FAILED, finished_at__gt=Now() - PROBES_FOR)


def advance_upgrade(upgrade_id: int) -> list[Deployment]:
    """Do what is due in an upgrade; return the deployments written, whose workers are to be woken.

    An error in one environment does not keep the others from going on.
    """
    written: list[Deployment] = []
    one_by_one(JOB, _with_rows(held_up(upgrade_id)), _return_in_turn, "environment")
    # One transition may make another due, but a stage has few: 100 rounds guard against a loop.
    for _round in range(100):
        stages = UpgradeStage.objects.filter(upgrade=upgrade_id, state__in=UPGRADE_LIVE)
        steps = one_by_one(JOB, _in_turn(stages), _advance, "environment")
        written += [step for step in steps if isinstance(step, Deployment)]
        if not any(steps):
            break
    failed = UpgradeStage.objects.filter(upgrade=upgrade_id, state=UpgradeState.FAILED)
    one_by_one(JOB, _with_rows(failed), _settle_late, "environment")
    _end(upgrade_id)
    return written


def _in_turn(stages: QuerySet[UpgradeStage]) -> QuerySet[UpgradeStage]:
    """Return the stages that run or are rolled back; if there are none, the first that waits."""
    busy = stages.exclude(state=UpgradeState.WAITING)
    if not busy.exists():
        # As a list: not every database takes a limit inside of a subquery.
        first = stages.order_by("number").values_list("pk", flat=True)[:1]
        busy = stages.filter(pk__in=list(first))
    return _with_rows(busy)


def _with_rows(stages: QuerySet[UpgradeStage]) -> QuerySet[UpgradeStage]:
    return stages.select_related(
        *("upgrade", "environment__project", "release_before__lock"),
        *("deployment__release", "returned_by__release"),
    )


def _advance(stage: UpgradeStage) -> Deployment | bool:
    """Advance a stage; return the deployment that was written for it, or whether it advanced."""
    match stage.state:
        case UpgradeState.WAITING if stage.deployment:
            if stage.deployment.state != State.WAITING:
                return note_begin(stage.deployment)
            if stage.message != stage.deployment.message:
                _wait_again(stage, stage.deployment.message)
            return False
        case UpgradeState.WAITING:
            return _begin_if_due(stage)
        case UpgradeState.RUNNING:
            return _follow_deployment(stage)
        case _:
            return _follow_rollback(stage)


def _begin_if_due(stage: UpgradeStage) -> Deployment | bool:
    """Begin a stage whose soak is over: write its deployment, for which it may have to wait."""
    mine = UpgradeStage.objects.filter(pk=stage.pk)
    due = mine.filter(
        Q(opens_at=None) | Q(opens_at__lte=Now()), state=UpgradeState.WAITING, deployment=None
    )
    try:
        with brief_transaction():
            # First, though it may have to wait: this decides which of two processes requests it.
            if not due.update(state=UpgradeState.RUNNING, opens_at=None):
                return False
            deployment = deploy_stage(stage)
            state, why = UpgradeState.RUNNING, Message()
            if deployment.state == State.WAITING:
                state, why = UpgradeState.WAITING, deployment.message
                mine.update(state=state, message=why)
            _set_state(stage, state, why)
            return deployment
    except DeployManagerError as error:
        # It waits still: that it ran was undone with the transaction.
        return not _is_busy(stage) and _fail(stage, UpgradeState.WAITING, error.message)


def note_begin(deployment: Deployment) -> bool:
    """Note that the deployment of a waiting stage waits no longer; False if there is no such stage.

    To be called where it is queued; else the next round of `reconcile` sees it.
    """
    stage = UpgradeStage.objects.filter(deployment=deployment, state=UpgradeState.WAITING).first()
    if stage is None:
        return False
    with brief_transaction():
        mine = UpgradeStage.objects.filter(pk=stage.pk, state=UpgradeState.WAITING)
        if not mine.update(state=UpgradeState.RUNNING, message=""):
            return False
        _set_state(stage, UpgradeState.RUNNING)
    return True


def _wait_again(stage: UpgradeStage, why: Message) -> bool:
    """Let a stage wait whose deployment was put back, or waits for something else by now."""
    with brief_transaction():
        mine = UpgradeStage.objects.filter(pk=stage.pk, state=stage.state)
        if not mine.filter(deployment__state=State.WAITING).update(
            state=UpgradeState.WAITING, message=why
        ):
            return False
        _set_state(stage, UpgradeState.WAITING, why)
    return True


def _set_state(stage: UpgradeStage, state: UpgradeState, why: Message | None = None) -> None:
    """Give the upgrade the state of its stage, with what that waits for, if it waits."""
    message = _of_stage(stage, why) if why else Message()
    Upgrade.objects.live().filter(pk=stage.upgrade_id).update(state=state, message=message)


def _follow_deployment(stage: UpgradeStage) -> Deployment | bool:
    """End a running stage by how its deployment ended."""
    deployment = stage.deployment
    if deployment is None:
        return _fail(stage, UpgradeState.RUNNING, Message(_("Its deployment was deleted.")))
    if deployment.state == State.WAITING:
        return _wait_again(stage, deployment.message)
    if deployment.is_live:
        return False
    was_cancelled = deployment.state == State.CANCELLED
    if deployment.state == State.SUCCEEDED or (not was_cancelled and is_proven(deployment)):
        return _succeed(stage, deployment.message)
    serves = stage.environment.placements.filter(active_release=deployment.release).exists()
    if deployment.state == State.LOST or serves or may_serve_unseen(deployment).exists():
        # Some servers serve the new pins, or may: cancelling rolls back, else a person decides.
        end = _return if was_cancelled else _fail
        return end(stage, UpgradeState.RUNNING, deployment.message)
    # Switched, and none serves it any more: its own rollback has brought them back.
    if was_cancelled or deployment.host_runs.filter(was_switched=True).exists():
        return _came_back(stage, UpgradeState.RUNNING, deployment.message)
    return _fail(stage, UpgradeState.RUNNING, Message.lines(deployment.message, NONE_SWITCHED))


def _settle_late(stage: UpgradeStage) -> bool:
    """Correct a failed stage if its servers were made, or found, to serve what was deployed there.

    A return that failed on a server may be retried; and how a lost server ended is often found out
    once it can be reached. What it means for other environments was decided before, and stays.
    """
    deployment = stage.returned_by or stage.deployment
    if deployment is None or not serves_in_the_end(deployment):
        return False
    if stage.returned_by:
        why = Message(_("Its servers went back in the end."))
        return _came_back(stage, UpgradeState.FAILED, why, partial(_return_pins, stage))
    # Once a later environment has begun, this one had succeeded: another one failed it.
    later = stage.upgrade.stages.filter(number__gt=stage.number)
    if later.exclude(state=UpgradeState.SKIPPED).exists():
        return False
    why = Message(_("All its servers serve the new pins, as was found out later."))
    return _succeed(stage, why, UpgradeState.FAILED)


def _succeed(
    stage: UpgradeStage, message: Message, was: UpgradeState = UpgradeState.RUNNING
) -> bool:
    """End a stage as succeeded, and let the next one begin after the soak."""
    with brief_transaction():
        mine = UpgradeStage.objects.filter(pk=stage.pk, state=was)
        if not mine.update(state=UpgradeState.SUCCEEDED, message=message):
            return False
        if was == UpgradeState.FAILED:
            _unmark(stage)
        with confirming_own_edits(stage.environment):
            if why := list_upgraded(stage):
                UpgradeStage.objects.filter(pk=stage.pk).update(message=why)
            note_overrides(stage)
        later = stage.upgrade.stages.filter(number__gt=stage.number, state=UpgradeState.WAITING)
        if following := later.order_by("number").first():
            soak = timedelta(seconds=stage.upgrade.soak)
            UpgradeStage.objects.filter(pk=following.pk).update(opens_at=Now() + soak)
    return True


def _fail(stage: UpgradeStage, was: UpgradeState, why: Message) -> bool:
    """End a stage as failed, with the consequences for the others: see `_end_stage`."""
    _mark_bad(stage, why)
    return _end_stage(stage, was, UpgradeState.FAILED, why)


def _came_back(
    stage: UpgradeStage, was: UpgradeState, why: Message, then: Callable[[], Message] | None = None
) -> bool:
    """End a stage whose servers all serve their previous release, or their previous pins, again.

    `then` is called in the transaction that ends it, and returns what people should know.
    """
    if was in UPGRADE_LIVE:
        _mark_bad(stage, why)
    ended = UpgradeState.CANCELLED if _was_cancelled(stage) else UpgradeState.ROLLED_BACK
    with brief_transaction():
        if not _end_stage(stage, was, ended, why):
            return False
        if then is not None and (more := then()):
            mine = UpgradeStage.objects.filter(pk=stage.pk)
            mine.update(message=Message.lines(*filter(None, (why, more))))
    return True


def _was_cancelled(stage: UpgradeStage) -> bool:
    return stage.deployment is not None and stage.deployment.state == State.CANCELLED


def _mark_bad(stage: UpgradeStage, why: Message) -> None:
    release = stage.deployment.release if stage.deployment else None
    if release and stage.deployment and speaks_against_release(stage.deployment):
        # In the words of the stage: by them `_unmark` knows this mark again.
        release.mark_bad(why or Message(_("Its upgrade failed.")))


def _unmark(stage: UpgradeStage) -> None:
    """Take back the mark on a stage's release that was made as the stage failed."""
    release = stage.deployment.release if stage.deployment else None
    # People may have marked it since, for a reason of their own.
    if release and release.bad_since and release.bad_reason == stage.message:
        Release.objects.filter(pk=release.pk).update(bad_since=None, bad_reason="")


def _end_stage(stage: UpgradeStage, was: UpgradeState, ended: UpgradeState, why: Message) -> bool:
    """End a stage, skip those that wait, and roll back earlier ones if the upgrade says so.

    An earlier one that another upgrade holds up is rolled back later: see `held_up`.
    """
    with brief_transaction():
        mine = UpgradeStage.objects.filter(pk=stage.pk, state=was)
        if not mine.update(state=ended, message=why, opens_at=None):
            return False
        if was not in UPGRADE_LIVE:
            return True  # corrected: what it means for the others was decided before
        others = stage.upgrade.stages.exclude(pk=stage.pk)
        # Also if it could not go back: what people cancelled is to change nothing more.
        is_cancelled = ended == UpgradeState.CANCELLED or _was_cancelled(stage)
        why_not = CANCELLED_BEFORE if is_cancelled else NOT_BEGUN
        others.filter(state=UpgradeState.WAITING).update(
            state=UpgradeState.SKIPPED, message=why_not, opens_at=None
        )
        if not is_cancelled and stage.upgrade.on_failure == OnFailure.RETURN:
            for earlier in others.filter(state=UpgradeState.SUCCEEDED, number__lt=stage.number):
                _return(earlier, UpgradeState.SUCCEEDED, why)
    return True


def _return(stage: UpgradeStage, was: UpgradeState, why: Message) -> bool:
    """Begin to roll an environment back; the next round writes the deployment.

    False if it has another state by now, or if another upgrade is at work there.
    """
    mine = UpgradeStage.objects.filter(pk=stage.pk, state=was)
    try:
        with brief_transaction():
            return bool(mine.update(state=UpgradeState.RETURNING, message=why))
    except IntegrityError:
        # One that had succeeded becomes live again, and an environment has one live upgrade.
        return False


def _return_in_turn(stage: UpgradeStage) -> bool:
    """Begin to roll a stage back that another upgrade held up, if that one has ended."""
    # Looked at first: a database logs each violation of a constraint.
    if at_work_beside(stage):
        return False
    failed = stage.upgrade.stages.filter(
        number__gt=stage.number, state__in=[UpgradeState.FAILED, UpgradeState.ROLLED_BACK]
    ).earliest("number")
    with brief_transaction():
        if not _return(stage, UpgradeState.SUCCEEDED, failed.message):
            return False
        _set_state(stage, UpgradeState.RUNNING)
    return True


def _follow_rollback(stage: UpgradeStage) -> Deployment | bool:
    """Begin the rollback of a stage, or end the stage by how its rollback ended."""
    back = stage.returned_by
    if back is None:
        return _begin_rollback(stage)
    if back.is_live:
        return False
    if back.state == State.SUCCEEDED or is_proven(back):
        then = partial(_return_pins, stage)
        return _came_back(stage, UpgradeState.RETURNING, stage.message, then)
    return _end_stage(stage, UpgradeState.RETURNING, UpgradeState.FAILED, back.message)


def _return_pins(stage: UpgradeStage) -> Message:
    with confirming_own_edits(stage.environment):
        return_overrides(stage)
        leave_out_of_later(stage)
        return list_returned(stage)


def _begin_rollback(stage: UpgradeStage) -> Deployment | bool:
    """Write the deployment that takes a stage back; False if it is not due, or written already.

    No right is checked, and no approval asked for: the rollback is part of the upgrade, which was
    allowed when it began. But nothing runs there that nobody with the right has confirmed.
    """
    # What it has to go back to is known once the deployment that runs there has ended.
    if _is_busy(stage):
        return False
    try:
        with brief_transaction():
            refuse_what_changed_of(stage)
            way = plan_return(stage)
            if way is None:
                then = partial(_return_pins, stage)
                why = Message.lines(*filter(None, (stage.message, NOTHING_LEFT)))
                return _came_back(stage, UpgradeState.RETURNING, why, then)
            options = DeploymentOptions(
                release=way.release,
                servers=way.servers,
                reason=reason_of(stage),
                waits=True,
                returns=True,
                take_back=way.take_back,
            )
            back = request_for(stage, way.recipe, options)
            mine = UpgradeStage.objects.filter(pk=stage.pk, returned_by=None)
            # Last, so that of two processes the loser's deployment is undone with its transaction.
            if not mine.filter(state=UpgradeState.RETURNING).update(returned_by=back):
                raise _BegunTwiceError
    except _BegunTwiceError:
        return False
    except DeployManagerError as error:
        return not _is_busy(stage) and _end_stage(
            stage, UpgradeState.RETURNING, UpgradeState.FAILED, error.message
        )
    return back


def _is_busy(stage: UpgradeStage) -> bool:
    """Whether a deployment is at work there: until it has ended, nothing is decided.

    It may have begun since that was looked at, so that another was refused for it.
    """
    return Deployment.objects.busy().filter(environment=stage.environment_id).exists()


class _BegunTwiceError(Exception):
    """Another process wrote the rollback: it undoes ours with the transaction."""


def _of_stage(stage: UpgradeStage, why: Message) -> Message:
    return Message("%(site)s: %(why)s", site=stage.environment, why=why)


def _end(upgrade_id: int) -> None:
    """End an upgrade without live stages, in the worst of their states; or note what it waits for.

    One that has ended gets another state if a stage was corrected since: see `_settle_late`.
    """
    stages = UpgradeStage.objects.filter(upgrade=upgrade_id).order_by("number")
    found = list(stages.select_related("environment__project"))
    if any(stage.state in UPGRADE_LIVE for stage in found):
        return
    if stage := _with_rows(held_up(upgrade_id)).first():
        other = at_work_beside(stage)
        why = Message(GOES_BACK_LATER, upgrade=other.upgrade) if other else Message()
        _set_state(stage, UpgradeState.WAITING, why)
        return
    states = {stage.state for stage in found}
    order = (UpgradeState.FAILED, UpgradeState.ROLLED_BACK, UpgradeState.CANCELLED)
    ended = next((state for state in order if state in states), UpgradeState.SUCCEEDED)
    if ended == UpgradeState.SUCCEEDED and UpgradeState.SKIPPED in states:
        ended = UpgradeState.FAILED  # it was corrected, but not everything was upgraded
    lines = [_of_stage(stage, stage.message) for stage in found if stage.message]
    mine = Upgrade.objects.filter(pk=upgrade_id)
    if not mine.live().update(state=ended, message=Message.lines(*lines), finished_at=Now()):
        mine.exclude(state=ended).update(state=ended, message=Message.lines(*lines))
