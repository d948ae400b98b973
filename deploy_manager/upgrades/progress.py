"""Advance upgrades from stage to stage, by how their deployments ended.

Any process that sees a deployment end advances its upgrade, and so does the reconcile loop: every
transition is a conditional UPDATE that one of them wins. Nothing is kept in memory in between.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from django.db import IntegrityError
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.request import DeploymentOptions, refuse_who_may_not, request
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.isolation import one_by_one
from deploy_manager.messages import Message
from deploy_manager.models import (
    UPGRADE_LIVE,
    Deployment,
    LockFile,
    OnFailure,
    Release,
    State,
    Step,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.deployments import UPGRADE
from deploy_manager.models.runs import is_verified
from deploy_manager.models.serving import serving_release
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.upgrades.overriding import note_overrides, return_overrides
from deploy_manager.upgrades.returning import list_returned, list_upgraded, plan_return

if TYPE_CHECKING:
    from django.contrib.auth.models import User

JOB = "went on with upgrades"
"""Its name among the jobs of the reconcile loop."""

PINS_CHANGED = _(
    "The pins that serve there have changed since the upgrade was requested: request it again."
)
NOT_BEGUN = Message(
    _("Nothing was changed here: an earlier environment failed."), "earlier_environment_failed"
)
NONE_SWITCHED = Message(_("No server was switched."))
NOTHING_LEFT = Message(
    _("Nothing that the upgrade brought serves there any more: no server was touched.")
)


def upgrade_of(deployment: Deployment) -> int | None:
    """Return the id of the upgrade that a deployment belongs to, or None."""
    mine = Q(deployment=deployment) | Q(returned_by=deployment)
    return UpgradeStage.objects.filter(mine).values_list("upgrade", flat=True).first()


def advance_all(wake: Callable[[Deployment], object]) -> int:
    """Advance every live upgrade; return how many deployments that wrote."""

    def advance(upgrade: Upgrade) -> int:
        written = advance_upgrade(upgrade.pk)
        for deployment in written:
            wake(deployment)
        return len(written)

    return sum(one_by_one(JOB, Upgrade.objects.live().order_by("pk"), advance))


def advance_upgrade(upgrade_id: int) -> list[Deployment]:
    """Do what is due in an upgrade; return the deployments written, whose workers are to be woken.

    An error in one environment does not keep the others from going on.
    """
    written: list[Deployment] = []
    # One transition may make another due, but a stage has few: 100 rounds guard against a loop.
    for _round in range(100):
        stages = UpgradeStage.objects.filter(upgrade=upgrade_id, state__in=UPGRADE_LIVE)
        steps = one_by_one(JOB, _in_turn(stages), _advance, "environment")
        written += [step for step in steps if isinstance(step, Deployment)]
        if not any(steps):
            break
    _end(upgrade_id)
    return written


def _in_turn(stages: QuerySet[UpgradeStage]) -> QuerySet[UpgradeStage]:
    """Return the stages that run or are rolled back; if there are none, the first that waits."""
    busy = stages.exclude(state=UpgradeState.WAITING)
    if not busy.exists():
        # As a list: not every database takes a limit inside of a subquery.
        first = stages.order_by("number").values_list("pk", flat=True)[:1]
        busy = stages.filter(pk__in=list(first))
    return busy.select_related(
        "upgrade", "environment__project", "deployment", "returned_by", "release_before__lock"
    )


def _advance(stage: UpgradeStage) -> Deployment | bool:
    """Advance a stage; return the deployment that was written for it, or whether it advanced."""
    match stage.state:
        case UpgradeState.WAITING if stage.deployment:
            return stage.deployment.state != State.WAITING and note_begin(stage.deployment)
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
            if not due.update(state=UpgradeState.RUNNING, opens_at=None):
                return False
            deployment = _deploy(stage)
            state, why = UpgradeState.RUNNING, Message()
            if deployment.state == State.WAITING:
                state, why = UpgradeState.WAITING, deployment.message
                mine.update(state=state, message=why)
            _set_state(stage, state, why)
            return deployment
    except DeployManagerError as error:
        return _fail(stage, UpgradeState.WAITING, error.message)


def note_begin(deployment: Deployment) -> bool:
    """Note that the deployment of a waiting stage waits no longer; False if there is no such stage.

    To be called by whoever queues it; else the next round of `reconcile` sees it.
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
    """Let a stage wait whose deployment was put back: it was queued when a freeze began."""
    with brief_transaction():
        mine = UpgradeStage.objects.filter(pk=stage.pk, state=UpgradeState.RUNNING)
        if not mine.filter(deployment__state=State.WAITING).update(
            state=UpgradeState.WAITING, message=why
        ):
            return False
        _set_state(stage, UpgradeState.WAITING, why)
    return True


def follow_what_serves(deployment: Deployment) -> None:
    """Let the deployment of a waiting stage have the code that serves by now: pins were planned.

    To be called before it is queued. If the pins have changed, too, its worker refuses it.
    """
    stage = UpgradeStage.objects.filter(deployment=deployment, state=UpgradeState.WAITING).first()
    serving = serving_release(deployment.environment)
    if stage is None or serving is None or serving.pk == stage.release_before_id:
        return
    if serving.lock_id != stage.lock_before_id:
        return
    with brief_transaction():
        mine = Deployment.objects.filter(pk=deployment.pk)
        if not mine.filter(state=State.WAITING).update(sequence=F("sequence") + 1):
            return
        release = _release_of(stage, serving)
        mine.update(release=release, commit=release.commit)
        UpgradeStage.objects.filter(pk=stage.pk).update(release_before=serving)
        now = stage.environment.placements.filter(pk=OuterRef("placement"))
        deployment.host_runs.update(
            release_when_requested=Subquery(now.values("active_release")[:1])
        )


def _release_of(stage: UpgradeStage, serving: Release) -> Release:
    """Write the release of a stage: the commit that serves, with the new pins."""
    return Release.objects.make(
        stage.environment,
        serving.commit,
        serving.subject,
        stage.lock_after,
        serving.repository_lock,
    )


def _set_state(stage: UpgradeStage, state: UpgradeState, why: Message | None = None) -> None:
    """Give the upgrade the state of its stage, with what that waits for, if it waits."""
    message = _of_stage(stage, why) if why else Message()
    Upgrade.objects.live().filter(pk=stage.upgrade_id).update(state=state, message=message)


def _deploy(stage: UpgradeStage) -> Deployment:
    """Write the deployment of a stage: the code that serves, with the new pins."""
    serving = serving_release(stage.environment)
    # Another deployment in between may have changed the code, but not the pins that were planned.
    if serving is None or serving.lock_id != stage.lock_before_id:
        raise RequestRefused(PINS_CHANGED)
    release = _release_of(stage, serving)
    upgrade = stage.upgrade
    refuse_who_may_not(
        upgrade.source, upgrade.requested_by, upgrade.requested_by_name, stage.environment
    )
    options = DeploymentOptions(
        release=release, reason=_reason(stage), waits=True, soak=upgrade.soak
    )
    deployment = _request(stage, UPGRADE, options, user=upgrade.requested_by)
    UpgradeStage.objects.filter(pk=stage.pk).update(deployment=deployment, release_before=serving)
    return deployment


def _reason(stage: UpgradeStage) -> str:
    parts = [gettext("Upgrade %s") % stage.upgrade, stage.upgrade.reason]
    return ": ".join(filter(None, parts))[:500]


def _request(
    stage: UpgradeStage, recipe: str, options: DeploymentOptions, user: "User | None" = None
) -> Deployment:
    """Request a deployment in the name of the upgrade; the worker checks a `user`'s right again."""
    upgrade = stage.upgrade
    return request(
        stage.environment,
        recipe,
        source=upgrade.source,
        requested_by_name=upgrade.requested_by_name,
        user=user,
        options=options,
    )


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
    if deployment.state == State.SUCCEEDED or (not was_cancelled and _is_proven(deployment)):
        return _succeed(stage, deployment.message)
    serves = stage.environment.placements.filter(active_release=deployment.release).exists()
    if deployment.state == State.LOST or serves:
        # Some servers serve the new pins, or may: cancelling rolls back, else a person decides.
        end = _return if was_cancelled else _fail
        return end(stage, UpgradeState.RUNNING, deployment.message)
    if was_cancelled or deployment.host_runs.filter(was_switched=True).exists():
        return _came_back(stage, UpgradeState.RUNNING, deployment.message)
    return _fail(stage, UpgradeState.RUNNING, Message.lines(deployment.message, NONE_SWITCHED))


def _is_proven(deployment: Deployment) -> bool:
    """Whether all servers were verified: only what comes after, like a clean-up, failed."""
    return all(
        run.state in (State.SUCCEEDED, State.FAILED)
        and is_verified(run.steps.all())
        and all(step.state == State.SUCCEEDED for step in run.steps.all() if step.gate)
        for run in deployment.host_runs.prefetch_related("steps")
    )


def _succeed(stage: UpgradeStage, message: Message) -> bool:
    """End a stage as succeeded, and let the next one begin after the soak."""
    with brief_transaction():
        running = UpgradeStage.objects.filter(pk=stage.pk, state=UpgradeState.RUNNING)
        if not running.update(state=UpgradeState.SUCCEEDED, message=message):
            return False
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
    _mark_bad(stage, why)
    cancelled = stage.deployment is not None and stage.deployment.state == State.CANCELLED
    ended = UpgradeState.CANCELLED if cancelled else UpgradeState.ROLLED_BACK
    with brief_transaction():
        if not _end_stage(stage, was, ended, why):
            return False
        if then is not None and (more := then()):
            mine = UpgradeStage.objects.filter(pk=stage.pk)
            mine.update(message=Message.lines(*filter(None, (why, more))))
    return True


def _mark_bad(stage: UpgradeStage, why: Message) -> None:
    release = stage.deployment.release if stage.deployment else None
    if release and stage.deployment and _speaks_against_release(stage.deployment):
        release.mark_bad(why or Message(_("Its upgrade failed.")))


def _speaks_against_release(deployment: Deployment) -> bool:
    """Whether a deployment that did not succeed came as far as to try its release.

    A cancelled one says nothing, nor does one whose servers could not be worked on at all. Nor does
    one that succeeded, and goes because another environment failed.
    """
    if deployment.state in (State.CANCELLED, State.SUCCEEDED):
        return False
    commands = Step.objects.filter(host_run__deployment=deployment, exit_code__gt=0)
    return commands.exists() or deployment.host_runs.filter(was_switched=True).exists()


def _end_stage(stage: UpgradeStage, was: UpgradeState, ended: UpgradeState, why: Message) -> bool:
    """End a stage, skip those that wait, and roll back earlier ones if the upgrade says so."""
    with brief_transaction():
        mine = UpgradeStage.objects.filter(pk=stage.pk, state=was)
        if not mine.update(state=ended, message=why, opens_at=None):
            return False
        others = stage.upgrade.stages.exclude(pk=stage.pk)
        others.filter(state=UpgradeState.WAITING).update(
            state=UpgradeState.SKIPPED, message=NOT_BEGUN, opens_at=None
        )
        if ended != UpgradeState.CANCELLED and stage.upgrade.on_failure == OnFailure.RETURN:
            for earlier in others.filter(state=UpgradeState.SUCCEEDED, number__lt=stage.number):
                _return(earlier, UpgradeState.SUCCEEDED, why)
    return True


def _return(stage: UpgradeStage, was: UpgradeState, why: Message) -> bool:
    """Begin to roll an environment back; the next round writes the deployment."""
    mine = UpgradeStage.objects.filter(pk=stage.pk, state=was)
    try:
        with brief_transaction():
            return bool(mine.update(state=UpgradeState.RETURNING, message=why))
    except IntegrityError:
        # One that had succeeded becomes live again, and an environment has one live upgrade.
        busy = Message(_("It was not rolled back: another upgrade is at work there."))
        mine.update(message=Message.lines(why, busy))
        return False


def _follow_rollback(stage: UpgradeStage) -> Deployment | bool:
    """Begin the rollback of a stage, or end the stage by how its rollback ended."""
    back = stage.returned_by
    if back is None:
        return _begin_rollback(stage)
    if back.is_live:
        return False
    if back.state != State.SUCCEEDED:
        return _end_stage(stage, UpgradeState.RETURNING, UpgradeState.FAILED, back.message)
    lock = back.release.lock if back.release else stage.lock_before
    then = partial(_return_pins, stage, lock)
    return _came_back(stage, UpgradeState.RETURNING, stage.message, then)


def _return_pins(stage: UpgradeStage, lock: LockFile) -> Message:
    return_overrides(stage)
    return list_returned(stage, lock)


def _begin_rollback(stage: UpgradeStage) -> Deployment | bool:
    """Write the deployment that takes a stage back; False if it is not due, or written already.

    No right is checked: the rollback is part of the upgrade, which was allowed when it began.
    """
    # What it has to go back to is known once the deployment that runs there has ended.
    if Deployment.objects.busy().filter(environment=stage.environment_id).exists():
        return False
    try:
        with brief_transaction():
            way = plan_return(stage)
            if way is None:
                then = partial(_return_pins, stage, stage.lock_before)
                why = Message.lines(*filter(None, (stage.message, NOTHING_LEFT)))
                return _came_back(stage, UpgradeState.RETURNING, why, then)
            options = DeploymentOptions(
                release=way.release, reason=_reason(stage), waits=True, take_back=way.take_back
            )
            back = _request(stage, way.recipe, options)
            mine = UpgradeStage.objects.filter(pk=stage.pk, returned_by=None)
            # Last, so that of two processes the loser's deployment is undone with its transaction.
            if not mine.filter(state=UpgradeState.RETURNING).update(returned_by=back):
                raise _BegunTwiceError
    except _BegunTwiceError:
        return False
    except DeployManagerError as error:
        return _end_stage(stage, UpgradeState.RETURNING, UpgradeState.FAILED, error.message)
    return back


class _BegunTwiceError(Exception):
    """Another process wrote the rollback: it undoes ours with the transaction."""


def _of_stage(stage: UpgradeStage, why: Message) -> Message:
    return Message("%(site)s: %(why)s", site=stage.environment, why=why)


def _end(upgrade_id: int) -> None:
    """End an upgrade without live stages, in the worst of their states."""
    stages = UpgradeStage.objects.filter(upgrade=upgrade_id).order_by("number")
    found = list(stages.select_related("environment__project"))
    if any(stage.state in UPGRADE_LIVE for stage in found):
        return
    states = {stage.state for stage in found}
    order = (UpgradeState.FAILED, UpgradeState.ROLLED_BACK, UpgradeState.CANCELLED)
    ended = next((state for state in order if state in states), UpgradeState.SUCCEEDED)
    lines = [_of_stage(stage, stage.message) for stage in found if stage.message]
    Upgrade.objects.live().filter(pk=upgrade_id).update(
        state=ended, message=Message.lines(*lines), finished_at=Now()
    )
