"""The deployments of an upgrade's stages: written, and kept right while they wait."""

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.confirming import changed_since, why_changed
from deploy_manager.deployments.request import DeploymentOptions, refuse_who_may_not, request
from deploy_manager.exceptions import DeployManagerError, PlanChanged, RequestRefused
from deploy_manager.messages import Message, few
from deploy_manager.models import UPGRADE_LIVE, Deployment, Release, State, UpgradeStage
from deploy_manager.models.deployments import UPGRADE
from deploy_manager.models.rights import Right
from deploy_manager.models.serving import serving_release
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.upgrades.returning import plan_return

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PINS_CHANGED = _(
    "The pins that serve there have changed since the upgrade was requested: request it again."
)
OTHERWISE = Message(
    _(
        "Not begun: what the servers serve has changed since this was requested, so the upgrade is"
        " taken back in another way."
    ),
    "not_needed",
)


def deploy_stage(stage: UpgradeStage) -> Deployment:
    """Write the deployment of a stage: the code that serves, with the new pins.

    Raises RequestRefused if other pins, or other code on some servers, came to serve since.
    """
    serving = serving_release(stage.environment)
    # Another deployment in between may have changed the code, but not the pins that were planned.
    if serving is None or serving.lock_id != stage.lock_before_id:
        raise RequestRefused(PINS_CHANGED)
    _refuse_to_take_code_back(stage, serving)
    release = _release_of(stage, serving)
    upgrade = stage.upgrade
    refuse_who_may_not(
        upgrade.source,
        upgrade.requested_by,
        upgrade.requested_by_name,
        stage.environment,
        Right.UPGRADE,
    )
    refuse_what_changed_of(stage)
    options = DeploymentOptions(
        release=release,
        reason=reason_of(stage),
        waits=True,
        soak=upgrade.soak,
        token=upgrade.token,
    )
    deployment = request_for(stage, UPGRADE, options, user=upgrade.requested_by)
    UpgradeStage.objects.filter(pk=stage.pk).update(deployment=deployment, release_before=serving)
    return deployment


def refuse_what_changed_of(stage: UpgradeStage) -> None:
    """Raise PlanChanged if a stage would not run as it was confirmed, there or back."""
    if stage.plan is not None and (changes := changed_since(stage)):
        raise PlanChanged(why_changed(changes, stage.plan))


def follow_what_serves(deployment: Deployment) -> None:
    """Let a waiting deployment of an upgrade follow what was deployed before its turn.

    To be called before it is queued.
    """
    # A stage runs still if its deployment was put back just now: see _wait_again.
    live = UpgradeStage.objects.filter(state__in=UPGRADE_LIVE)
    if stage := live.filter(deployment=deployment).first():
        _follow_code(stage, deployment)
    elif stage := live.filter(returned_by=deployment).select_related("release_before").first():
        _return_otherwise(stage, deployment)


def _follow_code(stage: UpgradeStage, deployment: Deployment) -> None:
    """Let it have the code that serves by now: pins were planned.

    If the pins have changed, too, or only some of the servers have other code, its worker refuses
    it.
    """
    serving = serving_release(deployment.environment)
    if serving is None or serving.pk == stage.release_before_id:
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
        runs = deployment.host_runs.filter(placement__active_release=serving)
        # Counts as shown: else `refuse_to_go_back` would refuse to replace what it follows.
        runs.update(release_when_requested=serving)


def _return_otherwise(stage: UpgradeStage, back: Deployment) -> None:
    """End a waiting return that is not the right one any more: the next round writes another."""
    try:
        with transaction.atomic():
            way = plan_return(stage)
            is_right = way is not None and way.is_done_by(back)
            # Only looked at: a plan may write a release.
            transaction.set_rollback(True)
    except DeployManagerError:
        is_right = False
    if is_right:
        return
    with brief_transaction():
        if back.give_way(OTHERWISE):
            UpgradeStage.objects.filter(pk=stage.pk, returned_by=back).update(returned_by=None)


def _release_of(stage: UpgradeStage, serving: Release) -> Release:
    """Write the release of a stage: the commit that serves, with the new pins."""
    return Release.objects.make(
        stage.environment,
        serving.commit,
        serving.subject,
        stage.lock_after,
        serving.repository_lock,
        build=serving.build,
    )


def _refuse_to_take_code_back(stage: UpgradeStage, serving: Release) -> None:
    """Raise RequestRefused if some servers were given other code than most since it was planned."""
    others = stage.environment.placements.exclude(active_release__commit=serving.commit)
    newer = others.filter(activated_at__gt=stage.upgrade.created_at, active_release__isnull=False)
    found = list(newer.select_related("server", "active_release"))
    if found:
        raise RequestRefused(
            _(
                "Since the upgrade was requested, other code was deployed on %(servers)s:"
                " %(releases)s. This would take it back there. Deploy one release to all servers,"
                " and request the upgrade again."
            ),
            servers=few([each.server.name for each in found]),
            releases=few(sorted({str(each.active_release) for each in found})),
        )


def reason_of(stage: UpgradeStage) -> str:
    parts = [gettext("Upgrade %s") % stage.upgrade, stage.upgrade.reason]
    # As long as the field: SQLite would take more, PostgreSQL raises.
    return ": ".join(filter(None, parts))[:500]


def request_for(
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
