"""Write a deployment's row: who may, on which servers, with which steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.models import Deployment, Environment, Placement
from deploy_manager.recipes import Recipe, Story, Uses, get_story

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

PERMISSION = "deploy_manager.deploy_environment"


def may_deploy(user: "User | AnonymousUser", environment: Environment) -> bool:
    """Whether a user may deploy this environment: by a right on all, or on this one object."""
    return bool(
        user.is_active and (user.has_perm(PERMISSION) or user.has_perm(PERMISSION, environment))
    )


def request(
    environment: Environment,
    recipe: str = "deploy",
    *,
    door: str,
    requested_as: str,
    user: "User | None" = None,
    ref: str = "",
    commit: str = "",
    servers: Sequence[str] = (),
    reason: str = "",
) -> Deployment:
    """Write the deployment, its hosts and their steps, all *queued*, and return it.

    `user` is the person of the admin; a command line has none and is trusted as its account is.
    `commit` pins what was looked at; blank: the worker resolves `ref` (default: the
    environment's). `servers` are names; none: all of the environment.
    Raises UnknownRecipe, RequestRefused, PermissionDenied.
    """
    if user is not None and not may_deploy(user, environment):
        raise PermissionDenied(f"{user} may not deploy {environment}.")
    story = get_story(recipe)
    return Deployment.objects.request(
        environment,
        recipe,
        plan_steps(story, choose_placements(environment, servers)),
        door=door,
        requested_as=requested_as,
        requested_by=user,
        ref=(ref or environment.ref) if story.uses is Uses.NEW else "",
        commit=commit,
        reason=_check_reason(reason),
    )


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


def plan_steps(
    story: Story, placements: Sequence[Placement]
) -> dict[Placement, list[dict[str, Any]]]:
    """Return the fields of each placement's steps; placements without any are left out.

    Raises RequestRefused where none has any.
    """
    planned: dict[Placement, list[dict[str, Any]]] = {}
    for phase in story.phases:
        for recipe in phase_recipes(story, phase.name):
            for placement in placements_for(recipe, placements):
                planned.setdefault(placement, []).append(
                    {"phase": phase.name, "recipe": recipe.name, "title": recipe.title}
                )
    if not planned:
        raise RequestRefused(_("No server chosen has a role that this is for."))
    return {placement: planned[placement] for placement in placements if placement in planned}


def phase_recipes(story: Story, phase: str) -> list[Recipe]:
    """Return the recipes of one phase of a story, in order."""
    names = next(entry.recipes for entry in story.phases if entry.name == phase)
    return [recipe for recipe in story.recipes if recipe.name in names]


def placements_for(recipe: Recipe, placements: Sequence[Placement]) -> list[Placement]:
    """Return where a recipe runs: by role, and on the first only when it runs once."""
    fitting = [placement for placement in placements if recipe.applies_to(placement.roles)]
    return fitting[:1] if recipe.once else fitting
