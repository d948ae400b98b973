"""Upgrades: planned by a worker, since a web process runs no resolver; requested as planned."""

from datetime import timedelta
from typing import Annotated, Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_noop as _
from ninja import Path, Query, Router

from deploy_manager import dispatch
from deploy_manager.api import shapes
from deploy_manager.api.access import SOURCE, find, find_environment, need, token_of, user_of
from deploy_manager.api.answers import as_it_is
from deploy_manager.api.deployments import Key, page_of
from deploy_manager.api.once import once
from deploy_manager.deployments.as_json import iso
from deploy_manager.exceptions import DeployManagerError, PlanChanged, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Resolution, Upgrade
from deploy_manager.models.rights import Right, may
from deploy_manager.models.shapes import keys_in, object_in
from deploy_manager.packages.resolutions import ask, find_asked
from deploy_manager.upgrades.arguments import UpgradeArguments, options_for
from deploy_manager.upgrades.plan import UpgradePlan
from deploy_manager.upgrades.requests import cancel_upgrade
from deploy_manager.upgrades.stored import options_from_json, options_to_json, plan_from_json
from deploy_manager.visibility import visible

router = Router(tags=["upgrades"])


@router.post(
    "/upgrades/plans", response={202: shapes.UpgradePlanAsked}, operation_id="plan_upgrade"
)
def plan_upgrade(request: HttpRequest, asked: shapes.UpgradeAsked) -> HttpResponse:
    """Have a worker find out what an upgrade would move; ask for it under its number."""
    names = list(dict.fromkeys(asked.environments))
    environments = [find_environment(request, name) for name in names]
    for environment in environments:
        need(request, Right.UPGRADE, environment)
    arguments = UpgradeArguments(
        packages=asked.packages,
        reach=asked.reach,
        reason=asked.reason,
        soak=timedelta(seconds=asked.soak),
        cooldown=timedelta(seconds=asked.cooldown),
        stops=asked.stop_on_failure,
    )
    options = options_for(environments, arguments)
    if not options.pins:
        raise RequestRefused(_("Nothing to do: nothing is known against what is pinned."))
    sent = {"options": options_to_json(options)}
    asked_for = ask(Resolution.Kind.UPGRADE, environments, sent, user_of(request))
    url = reverse("deploy_manager:api:get_upgrade_plan", args=[asked_for.pk])
    return as_it_is({"plan": asked_for.pk, "url": request.build_absolute_uri(url)}, 202)


@router.get(
    "/upgrades/plans/{number}", response=shapes.UpgradePlanOut, operation_id="get_upgrade_plan"
)
def get_upgrade_plan(request: HttpRequest, number: Annotated[shapes.Number, Path()]) -> Any:
    """Show what an upgrade would move: ask again while its state is queued or running.

    It is kept for an hour.
    """
    asked = _find_asked(request, number)
    told: dict[str, Any] = {
        "plan": asked.pk,
        "state": asked.state,
        "message": str(asked.message),
        "environments": _names(keys_in(asked.environments)),
        "stages": [],
        "unmoved": [],
        "problems": [],
        "taken_back": [],
        "shown": "",
    }
    if asked.answer is None:
        return told
    try:
        plan = _stored(asked)
    except DeployManagerError as error:
        return told | {"problems": [str(error)]}
    return told | _described(plan)


def _described(plan: UpgradePlan) -> dict[str, Any]:
    can_run = not (plan.problems or plan.is_empty)
    return {
        "stages": [
            {
                "environment": str(stage.environment),
                "moves": list(stage.moves),
                "bad": str(stage.bad),
                "not_now": str(stage.not_now),
            }
            for stage in plan.stages
        ],
        "unmoved": list(map(str, plan.unmoved)),
        "problems": list(map(str, plan.problems)),
        "taken_back": list(plan.taken_back),
        "shown": plan.key if can_run else "",
    }


def _find_asked(request: HttpRequest, number: int) -> Resolution:
    """Return a question of the token's user, if the token may upgrade all that it is about."""
    asked = find_asked(Resolution.Kind.UPGRADE, str(number), user_of(request))
    if asked is None:
        raise Http404
    sites = Environment.objects.filter(pk__in=keys_in(asked.environments))
    if not sites or not all(may(user_of(request), Right.UPGRADE, each) for each in sites):
        raise Http404
    return asked


def _stored(asked: Resolution) -> UpgradePlan:
    return plan_from_json(asked.answer, options_from_json(object_in(asked.asked).get("options")))


def _names(keys: Any) -> list[str]:
    rows = Environment.objects.select_related("project").in_bulk(list(keys))
    return [str(rows[key]) for key in keys if key in rows]


@router.post("/upgrades", response={201: shapes.UpgradeRequested}, operation_id="upgrade")
def upgrade(request: HttpRequest, asked: shapes.UpgradeIn, key: Key = "") -> HttpResponse:
    """Request an upgrade, exactly as a worker planned it."""

    def prepare() -> Any:
        question = _find_asked(request, asked.plan)
        if question.answer is None:
            raise RequestRefused(
                question.message or Message(_("It is not planned yet: ask again."))
            )
        plan = _stored(question)
        if asked.shown and asked.shown != plan.key:
            raise PlanChanged(_("It has changed since it was shown: look at it again."))
        if plan.taken_back and not asked.take_back:
            pins = ", ".join(plan.taken_back)
            raise RequestRefused(
                _("This would take back what an upgrade or a fix brought: %(pins)s."), pins=pins
            )
        token = token_of(request)

        def write() -> dict[str, Any]:
            made = dispatch.request_upgrade(
                plan,
                source=SOURCE,
                requested_by_name=token.acts_as,
                user=user_of(request),
                token=token,
            )
            return {"upgrade": _facts(request, made)}

        return write

    return once(request, key, asked, prepare)


@router.get("/upgrades", response=shapes.UpgradeList, operation_id="list_upgrades")
def list_upgrades(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[shapes.Number | None, Query()] = None,
) -> dict[str, Any]:
    """List upgrades, the newest first."""
    found = visible(request, Upgrade.objects.all())
    if before:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk").prefetch_related(STAGES)[: limit + 1])
    shown = rows[:limit]
    return {
        "upgrades": [_facts(request, each) for each in shown],
        "before": shown[-1].pk if len(rows) > limit else None,
    }


STAGES = "stages__environment__project"


@router.get("/upgrades/{number}", response=shapes.UpgradeOut, operation_id="get_upgrade")
def get_upgrade(request: HttpRequest, number: Annotated[shapes.Number, Path()]) -> Any:
    """Show an upgrade as it is now."""
    return _facts(request, _find(request, number))


@router.post("/upgrades/{number}/cancel", response=shapes.UpgradeOut, operation_id="cancel_upgrade")
def cancel(request: HttpRequest, number: Annotated[shapes.Number, Path()]) -> Any:
    """Stop an upgrade: servers that were switched go back, what waits never begins."""
    found = _find(request, number)
    for stage in found.stages.all():
        need(request, Right.UPGRADE, stage.environment)
    if not cancel_upgrade(found, token_of(request).acts_as):
        raise RequestRefused(_("Upgrade %(it)s has ended, or goes back already."), it=found)
    return _facts(request, _find(request, number))


def _find(request: HttpRequest, number: int) -> Upgrade:
    return find(request, Upgrade.objects.prefetch_related(STAGES), pk=number)


def _facts(request: HttpRequest, found: Upgrade) -> dict[str, Any]:
    return {
        "number": found.pk,
        "title": found.title,
        "state": found.state,
        "live": found.is_live,
        "message": str(found.message),
        "reason": found.message.codes,
        "why": found.reason,
        "source": found.source,
        "requested_by": found.requested_by_name,
        "created_at": iso(found.created_at),
        "finished_at": iso(found.finished_at),
        "stages": [
            {
                "environment": str(stage.environment),
                "state": stage.state,
                "message": str(stage.message),
                "moves": stage.moves,
                "deployment": stage.deployment_id,
            }
            for stage in found.stages.all()
        ],
        "url": page_of(request, "upgrade", found.pk),
    }
