"""Write a deployment's row: who may, on which servers, with which steps, now or later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.utils import timezone
from django.utils.translation import gettext as _

from deploy_manager.conf import get_settings
from deploy_manager.deployments.freezes import why_not_now
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.strategy import strategy_of
from deploy_manager.deployments.waves import Planned, plan_steps
from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.models import Deployment, Environment, Placement, Release, Schedule, State
from deploy_manager.models.rights import may_deploy
from deploy_manager.recipes import Pipeline, Uses

if TYPE_CHECKING:
    from django.contrib.auth.models import User

ADMIN = "admin"
"""The source that only people come through."""


def refuse_who_may_not(
    source: str, user: "User | None", requested_by_name: str, environment: Environment
) -> None:
    """Raise RequestRefused where whoever asked through a source may not, or not any more.

    Through the admin that is always a person, who may be gone by now; a command line has none.
    """
    if user is None and source != ADMIN:
        return
    if user is None or not may_deploy(user, environment):
        raise RequestRefused(
            _("%(who)s may not deploy %(site)s any more.")
            % {"who": requested_by_name, "site": environment}
        )


@dataclass(frozen=True)
class DeploymentOptions:
    """What a deployment may be asked for beyond its recipe; the defaults are the usual."""

    ref: str = ""
    """Branch, tag or commit; blank: the environment's."""

    commit: str = ""
    """The commit that was looked at; blank: the worker resolves `ref`."""

    servers: Sequence[str] = ()
    """Names; none: all of the environment."""

    reason: str = ""
    release: Release | None = None
    """For recipes that work on a release that is there: which one."""

    forced_migrations: Sequence[str] = ()
    """Migrations that a rollback may leave though they can't be reversed: shop.0005_name."""

    waits: bool = False
    """Whether to wait where the environment is busy or its window closed, instead of a refusal."""

    not_before: datetime | None = None
    deadline: datetime | None = None
    schedule: Schedule | None = None
    slot: datetime | None = None
    retry_of: Deployment | None = None
    take_back: Sequence[Mapping[str, str]] = ()
    """What was shown and confirmed to be taken back of upgrades and fixes; see ChangedPin."""

    without: frozenset[str] = field(default=frozenset())
    """Recipes that are left out."""

    soak: int = 0
    """Seconds between two waves, where that is longer than the environment's pause."""


def request(
    environment: Environment,
    recipe: str = "deploy",
    *,
    source: str,
    requested_by_name: str,
    user: "User | None" = None,
    options: DeploymentOptions | None = None,
    **requests: object,
) -> Deployment:
    """Write the deployment, its hosts and their steps, and return it: *queued*, or *waiting*.

    `user` is the person of the admin; a command line has none and is trusted. What else is wished
    for stands in `request`, or in keywords of the same names.
    Raises UnknownRecipe, RequestRefused, PermissionDenied.
    """
    if user is not None and not may_deploy(user, environment):
        raise PermissionDenied(f"{user} may not deploy {environment}.")
    options = options or DeploymentOptions(**requests)  # type: ignore[arg-type]
    pipeline = pipeline_for(environment, recipe)
    planned = _plan(pipeline, environment, options)
    return Deployment.objects.request(
        environment,
        recipe,
        planned.steps,
        planned.waves,
        get_settings().SHARD_HOSTS,
        source=source,
        requested_by_name=requested_by_name,
        requested_by=user,
        ref=_ref(environment, pipeline, options),
        **_decisions(environment, pipeline, options),
        **_begins_as(environment, pipeline, options),
        **_fields(options),
    )


def _ref(environment: Environment, pipeline: Pipeline, options: DeploymentOptions) -> str:
    """Return what the worker resolves; blank: the release is known, or none is needed."""
    takes_code = pipeline.uses is Uses.NEW and options.release is None
    return options.ref or environment.ref if takes_code else ""


def _plan(pipeline: Pipeline, environment: Environment, options: DeploymentOptions) -> Planned:
    """Return what would run where. Raises RequestRefused."""
    if pipeline.uses is Uses.GIVEN and options.release is None:
        raise RequestRefused(
            _("%(recipe)s needs to be told a release.") % {"recipe": pipeline.name}
        )
    planned = plan_steps(pipeline, environment, choose_placements(environment, options.servers))
    planned = planned.without(options.without)
    if not planned.steps:
        raise RequestRefused(_("No server chosen has a role that this is for."))
    return planned


def _decisions(
    environment: Environment, pipeline: Pipeline, options: DeploymentOptions
) -> dict[str, Any]:
    """Return what whoever carries it out does not decide again."""
    strategy = strategy_of(environment, pipeline.name)
    return {
        "uses": pipeline.uses.value,
        "sends_code": any(recipe.uses is Uses.NEW for recipe in pipeline.recipes),
        "pause": max(strategy.pause, options.soak),
        "max_failures": strategy.max_failures,
        "rolls_back": strategy.rolls_back,
    }


def _fields(options: DeploymentOptions) -> dict[str, Any]:
    """Return what of a request stands on the row as it was said."""
    return {
        "commit": options.release.commit if options.release else options.commit,
        "release": options.release,
        "reason": _check_reason(options.reason),
        "forced_migrations": list(options.forced_migrations),
        "not_before": options.not_before,
        "deadline": options.deadline,
        "schedule": options.schedule,
        "slot": options.slot,
        "retry_of": options.retry_of,
        "take_back": [dict(each) for each in options.take_back],
    }


def _begins_as(
    environment: Environment, pipeline: Pipeline, options: DeploymentOptions
) -> dict[str, Any]:
    """Return *queued*, or *waiting* and what for. Raises RequestRefused where it may not wait."""
    why = _why_to_wait(environment, pipeline, options)
    return {"state": State.WAITING if why else State.QUEUED, "message": why}


def _why_to_wait(environment: Environment, pipeline: Pipeline, options: DeploymentOptions) -> str:
    if options.not_before and options.not_before > timezone.now():
        return _("Waits for its time.")
    if why := why_not_now(environment, pipeline, timezone.now()):
        if options.waits or options.not_before:
            return why
        raise RequestRefused(why)
    busy = Deployment.objects.busy().filter(environment=environment).first()
    return busy.describe_as_busy() if busy and options.waits else ""


def _check_reason(reason: str) -> str:
    """Return a reason as every database takes it; raises RequestRefused where it is too long."""
    reason = mask_text(reason)
    most = Deployment._meta.get_field("reason").max_length or 0
    if len(reason) > most:
        raise RequestRefused(_("The reason is longer than %(most)d characters.") % {"most": most})
    return reason


def choose_placements(environment: Environment, servers: Sequence[str] = ()) -> list[Placement]:
    """Return the placements on these servers, in order; all where none is named.

    Raises RequestRefused for a name that is not in the environment, or where there is none at all.
    """
    placements = list(environment.placements.select_related("server", "active_release"))
    known = {placement.server.name for placement in placements}
    if unknown := sorted(set(servers) - known):
        raise RequestRefused(
            _("%(site)s has no server %(unknown)s. It has: %(known)s.")
            % {
                "site": environment,
                "unknown": ", ".join(unknown),
                "known": ", ".join(sorted(known)) or _("none"),
            }
        )
    if not placements:
        raise RequestRefused(
            _("%(site)s has no servers yet: add one in the admin.") % {"site": environment}
        )
    return [entry for entry in placements if not servers or entry.server.name in servers]
