"""Ask servers what is installed, and show where they differ or who runs what."""

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import QuerySet
from rich.table import Table

from deploy_manager.cli.asking import refusals, refuse
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.inventory.environments import all_environments, find_environment
from deploy_manager.cli.text import clean, shorten
from deploy_manager.models import Environment, Placement
from deploy_manager.packages.drift import Drift, drift
from deploy_manager.packages.exposure import Running, WhoRuns, parse_bounds, who_runs
from deploy_manager.packages.inventory import take_inventories

NOT_ALL_ASKED = 1
"""Exit code."""


class Command(EnvironmentCommand):
    help = (
        "Ask servers what is installed now, and show where they differ from each other or from the"
        " pins. Ends by 1 where a server could not be asked."
    )

    def add_subject(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", nargs="?", help="like shop/production; default: all")

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--server", action="append", default=[], metavar="NAME", help="only this one; again"
        )
        parser.add_argument(
            "--runs", default="", metavar="'django<5.2.8'", help="show who runs such a version"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environments = find_environments(options)
        with refusals():
            bounds = str(parse_bounds(options["runs"])) if options["runs"] else ""
        placements = _placements(environments, options["server"])
        view = self.make_view(options)
        problems = take_inventories(placements)
        asked = list(placements)
        if isinstance(view, JsonLines):
            _write(view, asked, problems, bounds)
        else:
            _show(view, asked, problems, bounds)
        if any(problems.values()):
            sys.exit(NOT_ALL_ASKED)


def find_environments(options: Mapping[str, Any]) -> list[Environment]:
    """Return the environment that is named, or all. Raises CommandError."""
    if options["environment"]:
        return [find_environment(options["environment"], options["project"])]
    return [
        environment
        for environment in all_environments()
        if options["project"] in ("", environment.project.name)
    ]


def _placements(environments: Sequence[Environment], servers: Sequence[str]) -> QuerySet[Placement]:
    """Return what is asked. Refused where a server is not there."""
    placements = Placement.objects.filter(environment__in=environments)
    there = list(dict.fromkeys(placements.values_list("server__name", flat=True)))
    if unknown := [name for name in servers if name not in there]:
        refuse(f"No such server: {', '.join(unknown)}. There are: {shorten(there) or 'none'}.")
    if not there:
        refuse("There are no servers to ask.")
    if servers:
        placements = placements.filter(server__name__in=servers)
    return placements.select_related("environment__project", "server").order_by(
        "environment__project__name", "environment__name", "order", "server__name"
    )


def _environments_of(placements: Sequence[Placement]) -> list[Environment]:
    return list({each.environment_id: each.environment for each in placements}.values())


def _running(placements: Sequence[Placement], bounds: str) -> WhoRuns:
    """Who runs it, among those that are asked for."""
    asked = {each.pk for each in placements}
    told = who_runs(bounds, _environments_of(placements))
    return WhoRuns(
        tuple(each for each in told.found if each.placement.pk in asked),
        tuple(each for each in told.unordered if each.placement.pk in asked),
        tuple(each for each in told.unseen if each.pk in asked),
    )


def _show(
    view: Lines, placements: Sequence[Placement], problems: Mapping[int, str], bounds: str
) -> None:
    for each in placements:
        if problem := problems.get(each.pk):
            view.say(f"{each.environment}, {each.server}: {problem}")
    if bounds:
        _show_running(view, _running(placements, bounds), bounds)
    else:
        _show_drift(view, placements)


def _show_running(view: Lines, told: WhoRuns, bounds: str) -> None:
    if told.found or told.unordered:
        table = _table("environment", "server", "version", "")
        for each in told.found:
            table.add_row(*_words(each), "")
        for each in told.unordered:
            table.add_row(*_words(each), "this version can't be compared")
        view.list(table)
    else:
        view.say(f"No server is known to run {bounds}.")
    if told.unseen:
        names = shorten([f"{each.environment} on {each.server}" for each in told.unseen])
        view.say(f"Not known, since not asked or not answered: {names}.")


def _words(running: Running) -> tuple[str, str, str]:
    placement = running.placement
    return str(placement.environment), str(placement.server), clean(running.version)


def _show_drift(view: Lines, placements: Sequence[Placement]) -> None:
    environments = _environments_of(placements)
    found = drift(environments)
    if found:
        table = _table("environment", "package", "pinned", "installed")
        for each in found:
            pinned = ", ".join(each.pinned) or "no"
            table.add_row(str(each.environment), each.name, clean(pinned), _where(each))
        view.list(table)
    differing = {each.environment.pk for each in found}
    for environment in environments:
        if environment.pk not in differing:
            view.say(f"{environment}: no server that answered differs from the others or the pins.")


def _where(found: Drift) -> str:
    """Like `5.2.8: web1, web2; none: web3`."""
    parts = []
    for version, placements in sorted(found.versions.items(), reverse=True):
        names = shorten([each.server.name for each in placements])
        parts.append(f"{clean(version) or 'none'}: {names}")
    return "; ".join(parts)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _write(
    view: JsonLines, placements: Sequence[Placement], problems: Mapping[int, str], bounds: str
) -> None:
    for each in Placement.objects.filter(pk__in=problems).prefetch_related("installed"):
        placement = next(one for one in placements if one.pk == each.pk)
        view.write("inventory", **_place(placement), **_facts(each, problems[each.pk]))
    if bounds:
        told = _running(placements, bounds)
        for running, is_ordered in (
            *((one, True) for one in told.found),
            *((one, False) for one in told.unordered),
        ):
            words = {"version": running.version, "is_comparable": is_ordered}
            view.write("runs", **_place(running.placement), **words)
    else:
        for found in drift(_environments_of(placements)):
            view.write("drift", **_drift_facts(found))
    answered = sum(1 for problem in problems.values() if not problem)
    view.write("summary", asked=len(problems), answered=answered)


def _place(placement: Placement) -> dict[str, str]:
    return {"environment": str(placement.environment), "server": placement.server.name}


def _facts(placement: Placement, problem: str) -> dict[str, Any]:
    seen = placement.inventory_at
    return {
        "seen_at": seen.isoformat() if seen else None,
        "problem": problem,
        "implementation": placement.implementation,
        "python": placement.python_version,
        "platform": placement.platform,
        "libc": placement.libc,
        "packages": {package.name: package.version for package in placement.installed.all()},
    }


def _drift_facts(found: Drift) -> dict[str, Any]:
    versions = {
        version: [each.server.name for each in placements]
        for version, placements in found.versions.items()
    }
    return {
        "environment": str(found.environment),
        "package": found.name,
        "pinned": list(found.pinned),
        "versions": versions,
    }
