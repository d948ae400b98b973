"""Places in an environment for servers of a file: which roles, and in which order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from django.core.exceptions import ValidationError
from django.db.models import Max
from django.utils.translation import gettext_noop as _

from deploy_manager.inventory.changes import (
    CHANGED,
    NEW,
    REFUSED,
    UNCHANGED,
    Place,
    Planned,
    Wanted,
)
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Placement, Process
from deploy_manager.models.rights import Right
from deploy_manager.models.shapes import texts_in
from deploy_manager.models.validators import validate_roles
from deploy_manager.recipes import all_pipelines

EVERY_SERVER = "all"
"""The group that every server is in, as in Ansible."""

USUAL_ROLES = ("app", "web", "worker", "beat", "static", "database")
"""Roles that mean the same everywhere; see the glossary."""

LAST_ORDER = 32767
"""Of a small integer of the database."""

NO_ROLE = Message(
    _("Not placed: none of its groups is a role. Say which role a group has, or the group “all”.")
)
NOT_TO_USE = Message(_("Not placed: you may not place environments on it."))
SEVERAL = Message(_("It has several places there, which stay as they are."))


def plan_places(
    planned: Sequence[Planned], wanted: Wanted, environment: Environment
) -> list[Planned]:
    """Add the place in the environment to each server that can be taken."""
    known = known_roles(environment)
    mapped: dict[str, list[str]] = {}
    for group, role in wanted.roles:
        mapped.setdefault(group, []).append(role)
    own: dict[str, list[Placement]] = {}
    for row in environment.placements.select_related("server"):
        own.setdefault(row.server.name, []).append(row)
    taken = _others_there(environment, wanted)
    last = environment.placements.aggregate(last=Max("order"))["last"] or 0
    placed = []
    for each in planned:
        if each.state == REFUSED:
            placed.append(each)
            continue
        roles = roles_of(each.found.groups, mapped, known)
        place = _place(own.get(each.name, []), roles, wanted.change_roles)
        if place.state == NEW and not wanted.may(Right.USE_SERVER, each.row):
            place = replace(place, state=REFUSED, why=NOT_TO_USE)
        elif place.state == NEW:
            place = _check_new(place, taken.get(each.name, ""), last)
            last = place.order or last
        placed.append(replace(each, place=place))
    return placed


def known_roles(environment: Environment) -> frozenset[str]:
    """Return the roles that mean something there: of its servers, its processes, and recipes."""
    processes = Process.objects.filter(environment=environment)
    of_rows = (
        environment.role_order,
        *environment.placements.values_list("roles", flat=True),
        *processes.values_list("roles", flat=True),
    )
    of_recipes = (
        role for pipeline in all_pipelines() for recipe in pipeline.recipes for role in recipe.roles
    )
    return frozenset(
        (
            *USUAL_ROLES,
            *(role for row in of_rows for role in texts_in(row)),
            *processes.values_list("name", flat=True),
            *of_recipes,
        )
    )


def roles_of(
    groups: Iterable[str], mapped: Mapping[str, Sequence[str]], known: frozenset[str]
) -> tuple[str, ...]:
    """Return the roles of a server in these groups, each once: mapped, or of the same name."""
    found: dict[str, None] = {}
    for group in (*groups, EVERY_SERVER):
        if group in mapped:
            found.update(dict.fromkeys(mapped[group]))
        elif group in known:
            found[group] = None
    return tuple(found)


def _place(rows: Sequence[Placement], roles: tuple[str, ...], change_roles: bool) -> Place:
    if not rows:
        return Place(NEW, roles) if roles else Place(REFUSED, why=NO_ROLE)
    row = rows[0]
    before = texts_in(row.roles)
    if len(rows) > 1:
        return Place(UNCHANGED, before, before, row.order, SEVERAL)
    # As sets: their order means nothing, and a file seldom keeps it.
    if change_roles and roles and set(roles) != set(before):
        return Place(CHANGED, roles, before, row.order, row=row)
    return Place(UNCHANGED, before, before, row.order, row=row)


def _check_new(place: Place, other: "str | Message", last: int) -> Place:
    """Give a new place its order, or say what the model says against it."""
    if other:
        why = Message(_("Not placed: %(site)s is deployed to the same path on it."), site=other)
        return replace(place, state=REFUSED, why=why)
    if last >= LAST_ORDER:
        return replace(place, state=REFUSED, why=Message(_("Not placed: no order is left.")))
    try:
        validate_roles(list(place.roles))
    except ValidationError as error:
        return replace(place, state=REFUSED, why=Message(" ".join(error.messages)))
    return replace(place, order=last + 1)


def _others_there(environment: Environment, wanted: Wanted) -> dict[str, str | Message]:
    """Return the sites that have this environment's path, by the name of the server.

    Without the names of those that one may not see. In one query for all servers;
    `Placement.clean` asks the same for one.
    """
    rows = Placement.objects.exclude(environment=environment).select_related(
        "environment__project", "server"
    )
    return {
        row.server.name: str(row.environment)
        if wanted.may(Right.VIEW, row.environment)
        else Message(_("another environment"))
        for row in rows
        if row.deploy_path == environment.deploy_path
    }
