"""Requests for deployments: who may make one, on which servers, with which steps, now or later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.deployments import gates
from deploy_manager.deployments.approvals import NEEDS_REASON, approvals_for, describe_wait
from deploy_manager.deployments.confirming import describe_request, refuse_another_plan
from deploy_manager.deployments.freezes import why_not_now
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.promoting import write_promoted
from deploy_manager.deployments.provisioning import is_as_bootstrap, refuse_to_provision
from deploy_manager.deployments.site_commands import refuse_unfit_arguments
from deploy_manager.deployments.waves import Planned, plan_steps, strategy_of
from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.models import (
    Deployment,
    Environment,
    IncomingWebhook,
    Placement,
    Release,
    Schedule,
    State,
    Token,
)
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import Right, may, no_longer
from deploy_manager.recipes import Pipeline, Uses

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TRUSTED = ("manage.py", "fab")
"""Sources without a user: who has an account on the machine may do all that it can do."""


def refuse_who_may_not(
    source: str,
    user: "User | None",
    requested_by_name: str,
    environment: Environment,
    right: Right,
) -> None:
    """Raise RequestRefused if the user who made a request lacks the right, or lost it.

    Through the admin there always is one, who may have been deleted since, and schedules and
    policies have their owner; a command line has none.
    """
    if user is None and source in TRUSTED:
        return
    if user is None or not may(user, right, environment):
        raise RequestRefused(no_longer(requested_by_name, right, environment))


@dataclass(frozen=True)
class DeploymentOptions:
    """Options of a deployment beyond its recipe; the defaults are the usual ones."""

    ref: str = ""
    """Branch, tag or commit; blank: the environment's."""

    commit: str = ""
    """The commit that was shown; blank: the worker resolves `ref`."""

    servers: Sequence[str] = ()
    """Names of servers; none: all of the environment."""

    reason: str = ""
    release: Release | None = None
    """For recipes that work on an existing release: which one."""

    forced_migrations: Sequence[str] = ()
    """Migrations that a rollback may leave as they can't be reversed: shop.0005_name."""

    arguments: Sequence[str] = ()
    """The words after manage.py, for a one-off command."""

    waits: bool = False
    """Whether to wait, not be refused, while the environment is busy or its window closed."""

    not_before: datetime | None = None
    """When it may begin at the earliest; None: at once."""

    deadline: datetime | None = None
    """It is cancelled if it has not begun by then; None: never."""

    schedule: Schedule | None = None
    slot: datetime | None = None
    """The time of `schedule` that it is for; None: it has none."""

    retry_of: Deployment | None = None
    take_back: Sequence[Mapping[str, str]] = ()
    """The pins of upgrades and fixes that were confirmed to be taken back; see ChangedPin."""

    left: Sequence[str] = ()
    """Servers that a retry leaves out, as they left the environment: to show, not kept."""

    without: frozenset[str] = field(default=frozenset())
    """Recipes to leave out."""

    shown: str = ""
    """The digest of what was shown and confirmed; blank: nothing was, as on a button."""

    breaks_glass: bool = False
    """Whether to do without the approvals that the environment needs: with a reason only."""

    returns: bool = False
    """Whether it takes back what was begun: that waits for no approval."""

    promotes: Release | None = None
    """The release of another environment, whose commit and lock file are to come here."""

    token: Token | None = None
    """The token of the API that asks for it."""

    webhook: IncomingWebhook | None = None
    """The webhook that asks for it."""

    soak: int = 0
    """Seconds between two waves, if that is longer than the environment's pause."""


def request(
    environment: Environment,
    recipe: str = "deploy",
    *,
    source: str,
    requested_by_name: str,
    user: "User | None" = None,
    options: DeploymentOptions | None = None,
    **fields: object,
) -> Deployment:
    """Write the deployment, its hosts and their steps, and return it: *queued*, or *waiting*.

    `user` is the person of the admin, or the owner of what acts automatically; a command line has
    none and is trusted. Everything else is in `options`, or in keywords of the names of its fields.
    Raises UnknownRecipe, RequestRefused, PlanChanged, PermissionDenied.
    """
    right = right_to(recipe)
    if user is not None and not may(user, right, environment):
        raise PermissionDenied(f"{user} lacks {right.codename} on {environment}.")
    options = options or DeploymentOptions(**fields)  # type: ignore[arg-type]
    _refuse_unseen_source(environment, options, user)
    pipeline = pipeline_for(environment, recipe)
    if options.promotes:
        gates.refuse_to_promote_by(pipeline)
    planned = _plan(environment, pipeline, options, user)
    strategy = strategy_of(environment, pipeline.name)
    takes_code = pipeline.uses is Uses.NEW and not (options.release or options.promotes)
    decided = describe_request(environment, pipeline, planned, options.release or options.promotes)
    refuse_another_plan(options.shown, decided)
    gate = _gate(environment, pipeline, options)
    approvals = approvals_for(environment, pipeline, options)
    why_to_wait = (
        describe_wait(approvals) or gate.waits or _why_to_wait(environment, pipeline, options)
    )
    with transaction.atomic():
        if options.promotes:
            options = replace(options, release=write_promoted(environment, options.promotes))
        return Deployment.objects.request(
            environment,
            recipe,
            planned.steps,
            planned.waves,
            get_settings().SHARD_HOSTS,
            source=source,
            requested_by_name=requested_by_name,
            requested_by=user,
            ref=options.ref or environment.ref if takes_code else "",
            state=State.WAITING if why_to_wait else State.QUEUED,
            message=why_to_wait,
            # Decided now: the code that carries it out may be another version.
            uses=pipeline.uses.value,
            sends_code=any(each.uses is Uses.NEW for each in pipeline.recipes),
            pause=max(strategy.pause, options.soak),
            max_failures=strategy.max_failures,
            rolls_back=strategy.rolls_back,
            waits=options.waits or options.not_before is not None or approvals.are_missing,
            plan=decided.save(),
            approvals_needed=approvals.needed,
            approve_by=approvals.by,
            breaks_glass=options.breaks_glass and (approvals.breaks_glass or bool(gate.why)),
            **_fields(options),
        )


def _refuse_unseen_source(
    environment: Environment, options: DeploymentOptions, user: "User | None"
) -> None:
    """Raise PermissionDenied if a user takes over what an environment serves that they can't see.

    Where the code of this one comes from as a rule is for whoever may deploy it.
    """
    if user is None or options.promotes is None:
        return
    source = options.promotes.environment
    if source.pk != environment.promotes_from_id and not may(user, Right.VIEW, source):
        raise PermissionDenied(f"{user} lacks {Right.VIEW.codename} on {source}.")


def _gate(environment: Environment, pipeline: Pipeline, options: DeploymentOptions) -> gates.Gate:
    """Return what new code waits for, or would but for break-glass. Raises RequestRefused."""
    if not gates.takes_new_code(pipeline, options.release, options.promotes):
        return gates.Gate()
    given = options.promotes or options.release
    commit = given.commit if given else options.commit
    gate = gates.look(environment, commit, options.promotes)
    if not gate.why:
        return gate
    if options.breaks_glass:
        if not options.reason.strip():
            raise RequestRefused(NEEDS_REASON)
        return gates.Gate(refused=gate.why)
    if gate.refused or not (options.waits or options.not_before):
        raise RequestRefused(gate.why)
    return gate


def _plan(
    environment: Environment, pipeline: Pipeline, options: DeploymentOptions, user: "User | None"
) -> Planned:
    """Return the steps and waves of what is asked for. Raises RequestRefused, PermissionDenied."""
    if pipeline.uses is Uses.GIVEN and options.release is None:
        raise RequestRefused(_("%(recipe)s needs a release: name one."), recipe=pipeline.name)
    planned = plan_steps(pipeline, environment, choose_placements(environment, options.servers))
    planned = planned.without(options.without)
    refuse_unfit_arguments(pipeline.name, options.arguments, options.servers, planned.steps)
    if not planned.steps:
        raise RequestRefused(_("None of the chosen servers has a role for this recipe."))
    if is_as_bootstrap(each.name for each in pipeline.recipes):
        refuse_to_provision(planned.steps, user)
    return planned


def _fields(options: DeploymentOptions) -> dict[str, Any]:
    """Return the options that are written on the row as they are."""
    reason = mask_text(options.reason)
    # Checked here, since SQLite takes any length and PostgreSQL raises an error of its own.
    most = Deployment._meta.get_field("reason").max_length or 0
    if len(reason) > most:
        raise RequestRefused(_("The reason is longer than %(most)d characters."), most=most)
    return {
        "commit": options.release.commit if options.release else options.commit,
        "release": options.release,
        "reason": reason,
        "forced_migrations": list(options.forced_migrations),
        "arguments": list(options.arguments),
        "not_before": options.not_before,
        "deadline": options.deadline,
        "schedule": options.schedule,
        "slot": options.slot,
        "retry_of": options.retry_of,
        "promotes": options.promotes,
        "token": options.token,
        "webhook": options.webhook,
        "take_back": [dict(each) for each in options.take_back],
    }


def _why_to_wait(
    environment: Environment, pipeline: Pipeline, options: DeploymentOptions
) -> Message:
    """Return what it waits for; blank: it may begin. Raises RequestRefused if it may not wait."""
    may_wait = options.waits or options.not_before is not None
    if why := why_not_yet(environment, pipeline, options.not_before):
        if may_wait:
            return why
        raise RequestRefused(why)
    # One that does not wait is refused by a database constraint, in DeploymentQuerySet.request.
    busy = Deployment.objects.busy().filter(environment=environment).first()
    return busy.describe_as_busy() if busy and options.waits else Message()


def why_not_yet(
    environment: Environment, pipeline: Pipeline, not_before: datetime | None
) -> Message:
    """Return which time, freeze or window a deployment waits for; blank: it waits for none.

    Raises TimesUnreadable.
    """
    now = timezone.now()
    if not_before and not_before > now:
        return Message(_("Waits for its time."))
    return why_not_now(environment, pipeline, now)


def choose_placements(environment: Environment, servers: Sequence[str] = ()) -> list[Placement]:
    """Return the placements on these servers, in order; all if none is named.

    Raises RequestRefused for a server that is not in the environment, or if it has none at all.
    """
    placements = list(environment.placements.select_related("server", "active_release"))
    known = {placement.server.name for placement in placements}
    if unknown := sorted(set(servers) - known):
        raise RequestRefused(
            _("%(site)s has no server %(unknown)s. It has: %(known)s."),
            site=environment,
            unknown=", ".join(unknown),
            known=", ".join(sorted(known)) or Message(_("none")),
        )
    if not placements:
        raise RequestRefused(
            _("%(site)s has no servers yet: add one in the admin."), site=environment
        )
    return [entry for entry in placements if not servers or entry.server.name in servers]
