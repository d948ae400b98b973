"""Deployments: planned, requested, watched, stopped, decided about."""

from dataclasses import replace
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_noop as _
from ninja import Path, Query, Router

from deploy_manager import dispatch
from deploy_manager.api import shapes
from deploy_manager.api.access import (
    SOURCE,
    find,
    find_environment,
    need,
    need_glass,
    token_of,
    user_of,
)
from deploy_manager.api.answers import as_it_is
from deploy_manager.api.once import KEY, once
from deploy_manager.api.problems import problem
from deploy_manager.deployments.approvals import approvals_that_count, digest_of
from deploy_manager.deployments.arguments import Arguments, options_for, options_to_retry
from deploy_manager.deployments.as_json import iso, plan_as_json, read_events
from deploy_manager.deployments.checking import as_planned, check_plan
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.notes import notes_of
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.progress import FROM_THE_START, log_of, whole_log
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import PlanChanged, RequestRefused
from deploy_manager.messages import Message, in_words
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import Right, may
from deploy_manager.packages.as_json import pin_as_json
from deploy_manager.packages.downgrades import describe_unconfirmed
from deploy_manager.visibility import visible

router = Router(tags=["deployments"])

MOST_BYTES = 1024 * 1024
USUAL_BYTES = 256 * 1024

Key = Annotated[str, KEY]


@router.post("/plans", response=shapes.PlanOut, operation_id="plan")
def plan(request: HttpRequest, asked: shapes.Asked) -> dict[str, Any]:
    """Show what a deployment would do: commits, pins, servers, waves. Nothing is requested."""
    environment = find_environment(request, asked.environment)
    need(request, right_to(asked.recipe), environment)
    options = _options(request, environment, asked)
    planned = check_plan(environment, asked.recipe, options, asks_gate=False)
    return {
        **in_words(plan_as_json(planned, options)),
        "to_confirm": [pin_as_json(pin) for pin in planned.to_confirm],
        "shown": _shown(planned, as_planned(planned, options)),
    }


@router.post("/deployments", response={201: shapes.Requested}, operation_id="deploy")
def deploy(request: HttpRequest, asked: shapes.DeploymentIn, key: Key = "") -> HttpResponse:
    """Request a deployment, a rollback (`recipe: rollback`) or any other recipe."""
    environment = find_environment(request, asked.environment)
    need(request, right_to(asked.recipe), environment)
    if asked.break_glass:
        need_glass(request)

    def prepare() -> Any:
        options = _as_shown(_options(request, environment, asked, asked), asked.shown, environment)
        return _prepared(
            request,
            environment,
            asked.recipe,
            options,
            asked,
            shown=asked.shown,
            leaves_others=asked.leave_others,
        )

    return once(request, key, asked, prepare)


def _prepared(
    request: HttpRequest,
    environment: Environment,
    recipe: str,
    options: DeploymentOptions,
    occasion: shapes.Occasion,
    *,
    shown: str = "",
    leaves_others: bool,
) -> Any:
    """Plan it, refuse what was not agreed to, and return what requests it as planned."""
    planned = check_plan(environment, recipe, options)
    if planned.to_confirm and not occasion.take_back:
        raise RequestRefused(describe_unconfirmed(planned.to_confirm))
    if planned.parting and not leaves_others and options.retry_of is None:
        raise RequestRefused(planned.parting)
    options = as_planned(planned, options)
    if shown:
        options = replace(options, shown=shown.partition(":")[0])
    token = token_of(request)
    options = replace(options, token=token)

    def write() -> dict[str, Any]:
        deployment = dispatch.request(
            environment,
            recipe,
            source=SOURCE,
            requested_by_name=token.acts_as,
            user=user_of(request),
            options=options,
        )
        return {"deployment": _detail(request, deployment.pk)}

    return write


def _options(
    request: HttpRequest,
    environment: Environment,
    asked: shapes.Asked,
    occasion: shapes.DeploymentIn | None = None,
) -> DeploymentOptions:
    arguments = Arguments(
        ref=asked.ref,
        servers=asked.servers,
        to=asked.to,
        forced_migrations=asked.forced_migrations,
        words=asked.arguments,
        breaks_glass=asked.break_glass,
        promotes=asked.promote,
        source=asked.from_,
        user=user_of(request),
        reason=occasion.reason if occasion else "",
        waits=bool(occasion and occasion.wait),
        at=occasion.at if occasion else "",
    )
    return options_for(environment, asked.recipe, arguments)


def _shown(planned: Plan, options: DeploymentOptions) -> str:
    """Return what names a plan: what decides, the commit and the release."""
    given = options.release or options.promotes
    release = given.name if given else ""
    return f"{options.shown}:{planned.commit.hash if planned.commit else ''}:{release}"


def _as_shown(
    options: DeploymentOptions, shown: str, environment: Environment
) -> DeploymentOptions:
    """Return the options for the commit and the release that were shown."""
    _digest, _colon, rest = shown.partition(":")
    commit, _colon, name = rest.partition(":")
    if options.promotes is not None:
        if name and name != options.promotes.name:
            raise PlanChanged(
                Message(_("Another release serves there by now: look again."), "promotion_changed")
            )
        return options
    if options.release is None:
        return replace(options, commit=commit)
    if name and name != options.release.name:
        release = environment.releases.select_related("lock").filter(name=name).first()
        return replace(options, release=release or options.release)
    return options


@router.get("/deployments", response=shapes.DeploymentList, operation_id="list_deployments")
def list_deployments(
    request: HttpRequest,
    environment: Annotated[shapes.Site | None, Query()] = None,
    state: Annotated[shapes.States | None, Query()] = None,
    commit: Annotated[str, Query(max_length=64, pattern=r"^[0-9a-f]*$")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[shapes.Number | None, Query()] = None,
) -> dict[str, Any]:
    """List deployments, the newest first."""
    found = visible(request, Deployment.objects.select_related("environment__project", "release"))
    if environment:
        found = found.filter(environment=find_environment(request, environment))
    if state:
        found = found.filter(state=state)
    if commit:
        found = found.filter(commit__startswith=commit)
    if before:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk")[: limit + 1])
    shown = rows[:limit]
    return {
        "deployments": [_facts(request, each) for each in shown],
        "before": shown[-1].pk if len(rows) > limit else None,
    }


@router.get(
    "/deployments/{number}", response=shapes.DeploymentDetail, operation_id="get_deployment"
)
def get_deployment(request: HttpRequest, number: Annotated[shapes.Number, Path()]) -> Any:
    """Show a deployment as it is now."""
    return _detail(request, _find(request, number).pk)


@router.get(
    "/deployments/{number}/events", response=shapes.EventsOut, operation_id="watch_deployment"
)
def watch_deployment(
    request: HttpRequest,
    number: Annotated[shapes.Number, Path()],
    after: Annotated[int, Query(ge=FROM_THE_START, le=shapes.LONGEST_KEY)] = FROM_THE_START,
    limit_bytes: Annotated[int, Query(ge=1, le=MOST_BYTES)] = USUAL_BYTES,
) -> HttpResponse:
    """Watch a deployment: ask again with `cursor` until `live` and `more` are false.

    The events are those of `manage.py deploy --json`. Output is among them for those who may
    read logs; `limit_bytes` is how much of it at most, or a little more.
    """
    deployment = _find(request, number)
    with_output = may(user_of(request), Right.VIEW_LOG, deployment.environment)
    found = read_events(deployment.pk, after, limit_bytes, with_output=with_output)
    # As it is: to check each event once more would take longer than to read it.
    told = {
        "events": found.events,
        "cursor": found.cursor,
        "more": found.more,
        "live": found.deployment.is_live,
    }
    return as_it_is(told)


@router.get("/deployments/{number}/log", operation_id="get_log", response=None)
def get_log(
    request: HttpRequest,
    number: Annotated[shapes.Number, Path()],
    server: Annotated[
        str, Query(max_length=200, pattern=shapes.NO_NUL, description="Of this server only.")
    ] = "",
) -> HttpResponse | StreamingHttpResponse:
    """Download the whole output, exactly as it was; masked as everywhere."""
    deployment = _find(request, number)
    need(request, Right.VIEW_LOG, deployment.environment)
    content = whole_log(deployment)
    if server:
        run = deployment.host_runs.filter(server_name=server).first()
        if run is None:
            return problem(404, code="not_found")
        content = log_of(run)
    return StreamingHttpResponse(content, content_type="text/plain; charset=utf-8")


@router.get("/deployments/{number}/notes", response=shapes.NotesOut, operation_id="get_notes")
def get_notes(request: HttpRequest, number: Annotated[shapes.Number, Path()]) -> dict[str, Any]:
    """Show the commits between what served before and what came: release notes."""
    return {"deployment": number, **notes_of(_find(request, number)).as_json()}


@router.post(
    "/deployments/{number}/cancel", response=shapes.DeploymentDetail, operation_id="cancel"
)
def cancel_deployment(request: HttpRequest, number: Annotated[shapes.Number, Path()]) -> Any:
    """Stop a deployment: what runs is stopped, what waits never begins."""
    deployment = _find(request, number)
    need(request, right_to(deployment.recipe), deployment.environment)
    if not cancel(deployment, token_of(request).acts_as):
        raise RequestRefused(
            _("%(it)s has ended already: %(state)s."),
            it=deployment,
            state=deployment.get_state_display(),
        )
    return _detail(request, number)


@router.post("/deployments/{number}/retry", response={201: shapes.Requested}, operation_id="retry")
def retry_deployment(
    request: HttpRequest,
    number: Annotated[shapes.Number, Path()],
    asked: shapes.RetryIn,
    key: Key = "",
) -> HttpResponse:
    """Run it again, with the same release, on the servers where it did not succeed."""
    deployment = _find(request, number)
    environment = deployment.environment
    need(request, right_to(deployment.recipe), environment)
    if asked.break_glass:
        need_glass(request)
    arguments = Arguments(
        reason=asked.reason, waits=asked.wait, at=asked.at, breaks_glass=asked.break_glass
    )

    def prepare() -> Any:
        recipe, options = options_to_retry(deployment, arguments)
        return _prepared(
            request, environment, recipe, options, asked, shown=asked.shown, leaves_others=True
        )

    return once(request, key, asked, prepare)


@router.post(
    "/deployments/{number}/approve", response=shapes.DeploymentDetail, operation_id="approve"
)
def approve(
    request: HttpRequest, number: Annotated[shapes.Number, Path()], asked: shapes.DecisionIn
) -> Any:
    """Approve a deployment that waits for approval, as the token's user."""
    return _decide(request, number, asked, approves=True)


@router.post("/deployments/{number}/deny", response=shapes.DeploymentDetail, operation_id="deny")
def deny(
    request: HttpRequest, number: Annotated[shapes.Number, Path()], asked: shapes.DecisionIn
) -> Any:
    """Deny a deployment that waits for approval, which ends it."""
    return _decide(request, number, asked, approves=False)


def _decide(
    request: HttpRequest, number: int, asked: shapes.DecisionIn, *, approves: bool
) -> dict[str, Any]:
    deployment = _find(request, number)
    need(request, Right.APPROVE, deployment.environment)
    dispatch.decide(
        deployment,
        user_of(request),
        approves=approves,
        reason=asked.reason,
        shown=asked.shown,
    )
    return _detail(request, number)


@router.post(
    "/deployments/{number}/break-glass",
    response=shapes.DeploymentDetail,
    operation_id="break_glass",
)
def break_glass(
    request: HttpRequest, number: Annotated[shapes.Number, Path()], asked: shapes.GlassIn
) -> Any:
    """Let it run without the approvals that it waits for; everybody is told who, and why."""
    deployment = _find(request, number)
    need(request, right_to(deployment.recipe), deployment.environment)
    need_glass(request)
    dispatch.break_glass(
        deployment, by=token_of(request).acts_as, user=user_of(request), reason=asked.reason
    )
    return _detail(request, number)


def _find(request: HttpRequest, number: int) -> Deployment:
    rows = Deployment.objects.select_related("environment__project", "release", "plan")
    return find(request, rows, pk=number)


def page_of(request: HttpRequest, name: str, key: int) -> str:
    """Return the address of a row's page in the admin; blank if this site has no admin."""
    try:
        return request.build_absolute_uri(
            reverse(f"admin:deploy_manager_{name}_change", args=[key])
        )
    except NoReverseMatch:
        return ""


def _facts(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    return {
        "number": deployment.pk,
        "environment": str(deployment.environment),
        "recipe": deployment.recipe,
        "state": deployment.state,
        "live": deployment.is_live,
        "message": str(deployment.message),
        "reason": deployment.message.codes,
        "ref": deployment.ref,
        "commit": deployment.commit,
        "release": deployment.release.name if deployment.release else "",
        "why": deployment.reason,
        "source": deployment.source,
        "requested_by": deployment.requested_by_name,
        "created_at": iso(deployment.created_at),
        "started_at": iso(deployment.started_at),
        "finished_at": iso(deployment.finished_at),
        "not_before": iso(deployment.not_before),
        "retry_of": deployment.retry_of_id,
        "approvals_needed": deployment.approvals_needed,
        "approve_by": iso(deployment.approve_by),
        "breaks_glass": deployment.breaks_glass,
        "cancel_requested_by": deployment.cancel_requested_by_name,
        "url": page_of(request, "deployment", deployment.pk),
    }


def _detail(request: HttpRequest, number: int) -> dict[str, Any]:
    """Return a deployment with its servers and decisions, read anew."""
    rows = Deployment.objects.select_related("environment__project", "release__lock", "plan")
    deployment = rows.get(pk=number)
    waits = deployment.state == State.WAITING and deployment.approvals_needed
    is_open = bool(waits and not deployment.breaks_glass)
    counting = {each.pk for each in approvals_that_count(deployment)} if is_open else set()
    servers = deployment.host_runs.order_by("pk").values_list("server_name", "state")
    return _facts(request, deployment) | {
        "servers": dict(servers),
        "decisions": [
            {
                "by": each.user_name,
                "decision": each.decision,
                "reason": each.reason,
                "at": iso(each.at),
                "counts": each.pk in counting,
            }
            for each in deployment.approvals.order_by("pk")
        ],
        "shown": digest_of(deployment) if is_open else "",
    }
