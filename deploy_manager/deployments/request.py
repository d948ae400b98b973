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
from deploy_manager.deployments.pipelines import story_for
from deploy_manager.deployments.strategy import strategy_of
from deploy_manager.deployments.waves import Planned, plan_steps
from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.models import Deployment, Environment, Placement, Release, Schedule, State
from deploy_manager.models.rights import may_deploy
from deploy_manager.recipes import Story, Uses

if TYPE_CHECKING:
    from django.contrib.auth.models import User

ADMIN = "admin"
"""The door that only people come through."""


def refuse_who_may_not(
    door: str, user: "User | None", requested_as: str, environment: Environment
) -> None:
    """Raise RequestRefused where whoever asked through a door may not, or not any more.

    Through the admin that is always a person, who may be gone by now; a command line has none.
    """
    if user is None and door != ADMIN:
        return
    if user is None or not may_deploy(user, environment):
        raise RequestRefused(
            _("%(who)s may not deploy %(site)s any more.")
            % {"who": requested_as, "site": environment}
        )


@dataclass(frozen=True)
class Wish:
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
    door: str,
    requested_as: str,
    user: "User | None" = None,
    wish: Wish | None = None,
    **wishes: object,
) -> Deployment:
    """Write the deployment, its hosts and their steps, and return it: *queued*, or *waiting*.

    `user` is the person of the admin; a command line has none and is trusted. What else is wished
    for stands in `wish`, or in keywords of the same names.
    Raises UnknownRecipe, RequestRefused, PermissionDenied.
    """
    if user is not None and not may_deploy(user, environment):
        raise PermissionDenied(f"{user} may not deploy {environment}.")
    wish = wish or Wish(**wishes)  # type: ignore[arg-type]
    story = story_for(environment, recipe)
    planned = _plan(story, environment, wish)
    return Deployment.objects.request(
        environment,
        recipe,
        planned.steps,
        planned.waves,
        get_settings().SLICE_HOSTS,
        door=door,
        requested_as=requested_as,
        requested_by=user,
        ref=_ref(environment, story, wish),
        **_decisions(environment, story, wish),
        **_begins_as(environment, story, wish),
        **_fields(wish),
    )


def _ref(environment: Environment, story: Story, wish: Wish) -> str:
    """Return what the worker resolves; blank: the release is known, or none is needed."""
    takes_code = story.uses is Uses.NEW and wish.release is None
    return wish.ref or environment.ref if takes_code else ""


def _plan(story: Story, environment: Environment, wish: Wish) -> Planned:
    """Return what would run where. Raises RequestRefused."""
    if story.uses is Uses.GIVEN and wish.release is None:
        raise RequestRefused(_("%(recipe)s needs to be told a release.") % {"recipe": story.name})
    planned = plan_steps(story, environment, choose_placements(environment, wish.servers))
    planned = planned.without(wish.without)
    if not planned.steps:
        raise RequestRefused(_("No server chosen has a role that this is for."))
    return planned


def _decisions(environment: Environment, story: Story, wish: Wish) -> dict[str, Any]:
    """Return what whoever carries it out does not decide again."""
    strategy = strategy_of(environment, story.name)
    return {
        "uses": story.uses.value,
        "sends_code": any(recipe.uses is Uses.NEW for recipe in story.recipes),
        "pause": max(strategy.pause, wish.soak),
        "max_failures": strategy.max_failures,
        "rolls_back": strategy.rolls_back,
    }


def _fields(wish: Wish) -> dict[str, Any]:
    """Return what of a wish stands on the row as it was said."""
    return {
        "commit": wish.release.commit if wish.release else wish.commit,
        "release": wish.release,
        "reason": _check_reason(wish.reason),
        "forced_migrations": list(wish.forced_migrations),
        "not_before": wish.not_before,
        "deadline": wish.deadline,
        "schedule": wish.schedule,
        "slot": wish.slot,
        "retry_of": wish.retry_of,
        "take_back": [dict(each) for each in wish.take_back],
    }


def _begins_as(environment: Environment, story: Story, wish: Wish) -> dict[str, Any]:
    """Return *queued*, or *waiting* and what for. Raises RequestRefused where it may not wait."""
    why = _why_to_wait(environment, story, wish)
    return {"state": State.WAITING if why else State.QUEUED, "message": why}


def _why_to_wait(environment: Environment, story: Story, wish: Wish) -> str:
    if wish.not_before and wish.not_before > timezone.now():
        return _("Waits for its time.")
    if why := why_not_now(environment, story, timezone.now()):
        if wish.waits or wish.not_before:
            return why
        raise RequestRefused(why)
    busy = Deployment.objects.busy().filter(environment=environment).first()
    return busy.describe_as_busy() if busy and wish.waits else ""


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
