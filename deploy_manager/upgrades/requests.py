"""Ask for an upgrade as it was planned, and cancel it: one row, and one for each environment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.utils.translation import gettext as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.models import (
    UPGRADE_LIVE,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.rights import may_deploy
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.looking_up import look_up_again
from deploy_manager.requirements.reach import PinRequest
from deploy_manager.upgrades.plan import PlannedStage, UpgradePlan

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def request_upgrade(
    plan: UpgradePlan, *, source: str, requested_by_name: str, user: "User | None" = None
) -> Upgrade:
    """Write an upgrade as it was planned; `advance_upgrade` begins it.

    `user` is the person of the admin; a command line and a policy have none and are trusted.
    Raises RequestRefused where the plan has problems or moves nothing, or where an environment is
    part of another upgrade; PermissionDenied.
    """
    _refuse_what_cannot_be(plan, user)
    options = plan.options
    try:
        with brief_transaction():
            upgrade = Upgrade.objects.create(
                wanted=[_as_json(each) for each in options.pins],
                reason=mask_text(options.reason)[:500],
                requested_by=user,
                requested_by_name=requested_by_name,
                source=source,
                policy_run=options.policy_run,
                soak=options.soak,
                on_failure=options.on_failure,
            )
            UpgradeStage.objects.bulk_create(_stages(upgrade, plan.stages))
    except IntegrityError:
        raise RequestRefused(_describe_as_busy(plan)) from None
    for stage in plan.stages:
        look_up_again(stage.environment.index_url, [move["name"] for move in stage.moves])
    return upgrade


def _as_json(options: PinRequest) -> dict[str, str]:
    return {"name": options.name, "reach": options.reach.value, "version": options.version}


def _refuse_what_cannot_be(plan: UpgradePlan, user: "User | None") -> None:
    for stage in plan.stages:
        if user is not None and not may_deploy(user, stage.environment):
            raise PermissionDenied(f"{user} may not deploy {stage.environment}.")
    if plan.problems:
        raise RequestRefused("\n".join(plan.problems))
    if plan.is_empty:
        raise RequestRefused(_("Nothing would change: there is nothing to upgrade."))


def _stages(upgrade: Upgrade, stages: Sequence[PlannedStage]) -> list[UpgradeStage]:
    return [
        UpgradeStage(
            upgrade=upgrade,
            number=number,
            environment=stage.environment,
            lock_before=stage.release_before.lock,
            lock_after=stage.lock_after(),
            moves=list(stage.moves),
            release_before=stage.release_before,
        )
        for number, stage in enumerate(stages, 1)
    ]


def _describe_as_busy(plan: UpgradePlan) -> str:
    environments = [stage.environment for stage in plan.stages]
    live = UpgradeStage.objects.filter(environment__in=environments, state__in=UPGRADE_LIVE)
    told = [
        _("%(site)s is part of upgrade %(upgrade)s, which has not ended yet.")
        % {"site": stage.environment, "upgrade": stage.upgrade}
        for stage in live.select_related("upgrade", "environment__project")
    ]
    return "\n".join(told) or _("An environment was busy just now: ask again.")


def cancel_upgrade(upgrade: Upgrade, by: str) -> bool:
    """Begin nothing more of an upgrade and cancel what runs; False where it had ended.

    Servers that had been switched return; what came through on other environments before stays.
    """
    live = Upgrade.objects.live().filter(pk=upgrade.pk)
    if not live.update(cancel_requested_by_name=by):
        return False
    waiting = upgrade.stages.filter(state=UpgradeState.WAITING)
    waiting.update(state=UpgradeState.CANCELLED, message=f"Cancelled by {by}.")
    for stage in upgrade.stages.filter(state=UpgradeState.RUNNING).select_related("deployment"):
        if stage.deployment:
            stage.deployment.request_cancel(by)
    return True
