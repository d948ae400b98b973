"""Options and plans of upgrades as JSON: asked by a page, planned by a worker."""

from datetime import datetime
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Environment, OnFailure, Release, Resolution
from deploy_manager.models.rights import Right, may, no_longer
from deploy_manager.models.serving import serving_release
from deploy_manager.models.shapes import KEY, fits
from deploy_manager.packages.resolutions import answers, environments_of
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.plan import (
    PlannedStage,
    UpgradeOptions,
    UpgradePlan,
    pins_begun_from,
    plan_upgrade,
)

UNREADABLE = _("What was stored of this question can't be read: preview the upgrade again.")
OPTIONS = {
    "pins": [{"name": str, "reach": frozenset(Reach), "version": str, "fixed_in": [str]}],
    "reason": str,
    # What a PositiveIntegerField holds on PostgreSQL.
    "soak": range(2**31),
    "on_failure": frozenset(OnFailure.values),
    "before": str,
    "exempt": [str],
}
MOVE = {"name": str, "before": str, "after": str, "why": str, "fixes": [str], "advisories": [str]}
PLAN = {
    "stages": [
        {
            "environment": KEY,
            "release_before": KEY,
            "begun_from": str,
            "decided": str,
            "lock": str,
            "moves": [MOVE],
        }
    ],
    "unmoved": [KEY],
    "problems": [list],
}


def options_to_json(options: UpgradeOptions) -> dict[str, Any]:
    return {
        "pins": [
            {
                "name": pin.name,
                "reach": pin.reach.value,
                "version": pin.version,
                "fixed_in": list(pin.fixed_in),
            }
            for pin in options.pins
        ],
        "reason": options.reason,
        "soak": options.soak,
        "on_failure": str(options.on_failure),
        "before": options.before.isoformat() if options.before else "",
        "exempt": sorted(options.exempt),
    }


def options_from_json(data: Any) -> UpgradeOptions:
    """Return options as they were asked for. Raises RequestRefused if they can't be read."""
    if not fits(data, OPTIONS):
        raise RequestRefused(UNREADABLE)
    try:
        before = datetime.fromisoformat(data["before"]) if data["before"] else None
    except ValueError:
        raise RequestRefused(UNREADABLE) from None
    return UpgradeOptions(
        pins=tuple(
            PinRequest(each["name"], Reach(each["reach"]), each["version"], tuple(each["fixed_in"]))
            for each in data["pins"]
        ),
        reason=data["reason"],
        soak=data["soak"],
        on_failure=data["on_failure"],
        before=before,
        exempt=frozenset(data["exempt"]),
    )


def plan_to_json(plan: UpgradePlan) -> dict[str, Any]:
    return {
        "stages": [
            {
                "environment": stage.environment.pk,
                "release_before": stage.release_before.pk,
                "begun_from": stage.begun_from,
                "decided": stage.decided,
                "lock": stage.lock,
                "moves": list(stage.moves),
            }
            for stage in plan.stages
        ],
        "unmoved": [each.pk for each in plan.unmoved],
        "problems": [Message(each).as_json() for each in plan.problems],
    }


def plan_from_json(data: Any, options: UpgradeOptions) -> UpgradePlan:
    """Return a plan as it was made.

    Raises RequestRefused if it can't be read or is no longer valid: another release serves, or the
    pins changed; PinError and InvalidRow if nobody can tell.
    """
    if not fits(data, PLAN):
        raise RequestRefused(UNREADABLE)
    return UpgradePlan(
        options,
        tuple(_stage(each) for each in data["stages"]),
        tuple(Environment.objects.select_related("project").filter(pk__in=data["unmoved"])),
        tuple(map(Message.of_json, data["problems"])),
    )


def _stage(data: dict[str, Any]) -> PlannedStage:
    found = Environment.objects.select_related("project").filter(pk=data["environment"])
    environment = found.first()
    release = Release.objects.select_related("lock").filter(pk=data["release_before"]).first()
    if environment is None or release is None or serving_release(environment) != release:
        raise RequestRefused(_("Another release serves by now: preview the upgrade again."))
    begun_from = pins_begun_from(environment, release)
    if begun_from != data["begun_from"]:
        raise RequestRefused(
            _("The pins of %(site)s have changed since: preview the upgrade again."),
            site=environment,
        )
    decided = data["decided"]
    return PlannedStage(
        environment, release, data["lock"], tuple(data["moves"]), begun_from, decided
    )


@answers(Resolution.Kind.UPGRADE)
def _answer(held: Resolution) -> dict[str, Any]:
    """Plan an upgrade as its page requested. Raises DeployManagerError."""
    environments = environments_of(held)
    for environment in environments:
        # Checked again: the right may have been taken away while the question waited.
        if not may(held.requested_by, Right.UPGRADE, environment):
            raise RequestRefused(no_longer(held.requested_by, Right.UPGRADE, environment))
    return plan_to_json(plan_upgrade(environments, options_from_json(held.asked.get("options"))))
