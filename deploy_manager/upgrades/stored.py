"""Options and plans of upgrades as JSON: what a page asked, and what a worker planned for it."""

from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment, Release, Resolution
from deploy_manager.models.rights import may_deploy
from deploy_manager.models.serving import serving_release
from deploy_manager.packages.resolutions import answers, environments_of
from deploy_manager.requirements.reach import PinWish, Reach
from deploy_manager.upgrades.plan import (
    PlannedStage,
    UpgradePlan,
    UpgradeWish,
    pins_begun_from,
    plan_upgrade,
)


def wish_to_json(wish: UpgradeWish) -> dict[str, Any]:
    return {
        "pins": [
            {
                "name": pin.name,
                "reach": pin.reach.value,
                "version": pin.version,
                "fixed_in": list(pin.fixed_in),
            }
            for pin in wish.pins
        ],
        "reason": wish.reason,
        "soak": wish.soak,
        "on_failure": str(wish.on_failure),
        "before": wish.before.isoformat() if wish.before else "",
        "exempt": sorted(wish.exempt),
    }


def wish_from_json(said: dict[str, Any]) -> UpgradeWish:
    return UpgradeWish(
        pins=tuple(
            PinWish(each["name"], Reach(each["reach"]), each["version"], tuple(each["fixed_in"]))
            for each in said["pins"]
        ),
        reason=said["reason"],
        soak=said["soak"],
        on_failure=said["on_failure"],
        before=datetime.fromisoformat(said["before"]) if said["before"] else None,
        exempt=frozenset(said["exempt"]),
    )


def plan_to_json(plan: UpgradePlan) -> dict[str, Any]:
    return {
        "stages": [
            {
                "environment": stage.environment.pk,
                "release_before": stage.release_before.pk,
                "begun_from": pins_begun_from(stage.environment, stage.release_before),
                "lock": stage.lock,
                "moves": list(stage.moves),
            }
            for stage in plan.stages
        ],
        "unmoved": [each.pk for each in plan.unmoved],
        "problems": list(plan.problems),
    }


def plan_from_json(said: dict[str, Any], wish: UpgradeWish) -> UpgradePlan:
    """Return a plan as it was made. Raises RequestRefused where it holds no longer.

    It does not where another release serves by now, or other pins are listed.
    """
    return UpgradePlan(
        wish,
        tuple(_stage(each) for each in said["stages"]),
        tuple(Environment.objects.select_related("project").filter(pk__in=said["unmoved"])),
        tuple(said["problems"]),
    )


def _stage(said: dict[str, Any]) -> PlannedStage:
    found = Environment.objects.select_related("project").filter(pk=said["environment"])
    environment = found.first()
    release = Release.objects.select_related("lock").filter(pk=said["release_before"]).first()
    if environment is None or release is None or serving_release(environment) != release:
        raise RequestRefused(_("Another release serves by now: look again at what would move."))
    if pins_begun_from(environment, release) != said["begun_from"]:
        raise RequestRefused(
            _("The pins of %(site)s have changed since: look again at what would move.")
            % {"site": environment}
        )
    return PlannedStage(environment, release, said["lock"], tuple(said["moves"]))


@answers(Resolution.Kind.UPGRADE)
def _answer(held: Resolution) -> dict[str, Any]:
    """Plan an upgrade as its page asked. Raises DeployManagerError."""
    environments = environments_of(held)
    for environment in environments:
        if not (held.requested_by.is_active and may_deploy(held.requested_by, environment)):
            raise RequestRefused(
                _("%(who)s may not deploy %(site)s any more.")
                % {"who": held.requested_by, "site": environment}
            )
    return plan_to_json(plan_upgrade(environments, wish_from_json(held.asked["wish"])))
