"""Request an upgrade as it was planned, and cancel it.

An upgrade is one row, with one for each of its environments.
"""

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_noop as _

from deploy_manager.auditing import note_upgrade
from deploy_manager.deployments.confirming import refuse_another_plan
from deploy_manager.deployments.decided import describe
from deploy_manager.deployments.ending import cancel
from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.models import (
    UPGRADE_LIVE,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.deployments import cancelled_by
from deploy_manager.models.rights import Right, may
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.looking_up import look_up_again
from deploy_manager.upgrades.plan import UpgradePlan

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from deploy_manager.models import Token


def request_upgrade(
    plan: UpgradePlan,
    *,
    source: str,
    requested_by_name: str,
    user: "User | None" = None,
    token: "Token | None" = None,
) -> Upgrade:
    """Write an upgrade as it was planned; `advance_upgrade` begins it.

    `user` is the person in the admin, or the owner of a policy; commands have none and are trusted.
    `token` is what a program asks with: without it no further stage begins.
    Raises RequestRefused if the plan has problems or moves nothing, or if an environment is part of
    another upgrade; PlanChanged if something that decides what runs was changed since it was shown;
    PermissionDenied.
    """
    for stage in plan.stages:
        if user is not None and not may(user, Right.UPGRADE, stage.environment):
            raise PermissionDenied(f"{user} may not upgrade {stage.environment}.")
    if plan.problems:
        raise RequestRefused(Message.lines(*plan.problems))
    if plan.is_empty:
        raise RequestRefused(_("Nothing would change: there is nothing to upgrade."))
    options = plan.options
    decided = {each.environment.pk: describe(each.environment, pins=False) for each in plan.stages}
    for stage in plan.stages:
        refuse_another_plan(stage.decided, decided[stage.environment.pk])
    try:
        with brief_transaction():
            upgrade = Upgrade.objects.create(
                wanted=[
                    {"name": pin.name, "reach": pin.reach.value, "version": pin.version}
                    for pin in options.pins
                ],
                reason=mask_text(options.reason)[:500],
                requested_by=user,
                requested_by_name=requested_by_name,
                source=source,
                token=token,
                policy_run=options.policy_run,
                soak=options.soak,
                on_failure=options.on_failure,
            )
            UpgradeStage.objects.bulk_create(
                UpgradeStage(
                    upgrade=upgrade,
                    number=number,
                    environment=stage.environment,
                    lock_before=stage.release_before.lock,
                    lock_after=stage.lock_after(),
                    moves=list(stage.moves),
                    release_before=stage.release_before,
                    listed_before=stage.listed_before(),
                    plan=decided[stage.environment.pk].save(),
                )
                for number, stage in enumerate(plan.stages, 1)
            )
            note_upgrade(upgrade)
    except IntegrityError:
        # A partial unique index allows one live upgrade in an environment.
        raise RequestRefused(_describe_as_busy(plan)) from None
    # The resolver may have taken versions that are newer than the facts on the rows.
    for stage in plan.stages:
        look_up_again(stage.environment.index_url, [move["name"] for move in stage.moves])
    return upgrade


def _describe_as_busy(plan: UpgradePlan) -> Message:
    environments = [stage.environment for stage in plan.stages]
    live = UpgradeStage.objects.filter(environment__in=environments, state__in=UPGRADE_LIVE)
    lines = [
        Message(
            _("%(site)s is part of upgrade %(upgrade)s, which has not ended yet."),
            site=stage.environment,
            upgrade=stage.upgrade,
        )
        for stage in live.select_related("upgrade", "environment__project")
    ]
    # None is left if the other upgrade ended after it had refused ours.
    return Message.lines(*lines) or Message(_("An environment was busy just now: try again."))


def cancel_upgrade(upgrade: Upgrade, by: str) -> bool:
    """Cancel what waits and runs of an upgrade; False if nothing does, as it ended or goes back.

    Servers that were switched are rolled back; environments that succeeded before stay upgraded,
    also if they were to go back once another upgrade has ended.
    """
    forward = upgrade.stages.filter(state__in=[UpgradeState.WAITING, UpgradeState.RUNNING])
    goes_back = UpgradeStage.objects.filter(upgrade=OuterRef("pk"), state=UpgradeState.RETURNING)
    live = Upgrade.objects.live().filter(Exists(forward) | ~Exists(goes_back), pk=upgrade.pk)
    if not live.update(cancel_requested_by_name=by):
        return False
    waiting = forward.filter(state=UpgradeState.WAITING, deployment=None)
    waiting.update(state=UpgradeState.CANCELLED, message=cancelled_by(by))
    # One that waits for its deployment to begin ends with that deployment.
    for stage in forward.select_related("deployment"):
        if stage.deployment:
            cancel(stage.deployment, by)
    return True
