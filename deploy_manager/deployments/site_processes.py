"""Which processes of a site run on a server, by the roles of all its servers."""

import hashlib
from typing import Any

from deploy_manager.models import Placement
from deploy_manager.models import Process as ProcessRow
from deploy_manager.models.processes import runs_on, serves_web
from deploy_manager.models.shapes import texts_in
from deploy_manager.recipes import Process
from deploy_manager.row_checks import check_row
from deploy_manager.tiers.listening import PLACEHOLDER


def processes_on(placement: Placement) -> dict[str, Any]:
    """Return the fields of a `Site` that say what runs on one of its servers. Raises InvalidRow."""
    places = [each for each in placement.environment.placements.all() if each.has_code]
    roles = {each.pk: texts_in(each.roles) for each in places}
    known = {role for each in roles.values() for role in each}
    own = texts_in(placement.roles)
    here: list[ProcessRow] = []
    elsewhere: list[ProcessRow] = []
    for row in placement.environment.processes.all():
        check_row(row)
        first = next((each for each in places if runs_on(row, roles[each.pk], known)), None)
        # Beat runs once: from two of them, each task would be sent twice.
        is_others = row.kind == ProcessRow.Kind.BEAT and first != placement
        if is_others or not runs_on(row, own, known):
            elsewhere.append(row)
        else:
            here.append(row)
    first_of = {role: next(p for p in places if role in roles[p.pk]) for role in known}
    return {
        "unit_prefix": unit_prefix(placement),
        "processes": tuple(_process(row, placement) for row in here),
        "processes_elsewhere": frozenset(row.name for row in elsewhere),
        "web_elsewhere": any(row.is_web for row in elsewhere),
        # A row says where it serves; without one it is a matter of the roles alone.
        "serves_web": any(row.is_web for row in here)
        or (not any(row.is_web for row in elsewhere) and serves_web(own, known)),
        "known_roles": frozenset(known),
        "first_in": frozenset(role for role, first in first_of.items() if first == placement),
        "is_first": places[:1] == [placement],
    }


def _process(row: ProcessRow, placement: Placement) -> Process:
    return Process(
        name=row.name,
        kind=row.kind,
        command=row.command,
        application=row.application,
        number=row.number,
        bind=_bind_of(row, placement),
        stop_signal=row.stop_signal,
        stop_seconds=row.stop_seconds,
        stays_up=row.stays_up,
        memory=row.memory,
        health=row.health,
        health_target=row.health_target,
    )


def _bind_of(row: ProcessRow, placement: Placement) -> str:
    if not row.bind:
        return placement.bind if row.is_web else ""
    return row.bind.replace(PLACEHOLDER, placement.server.reached_at)


def unit_prefix(placement: Placement) -> str:
    """Return what names of units begin with: the site's, and its folder's if that is its own."""
    environment = placement.environment
    name = f"{environment.project.name}-{environment.name}"
    if not placement.own_deploy_path:
        return name
    # Several places of a site may be on one server, as in a rehearsal.
    return f"{name}-{hashlib.sha256(placement.deploy_path.encode()).hexdigest()[:6]}"
