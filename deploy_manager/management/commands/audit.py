"""Look for advisories about what is installed and pinned, and show who is exposed."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.inventory.environments import all_environments, find_environment
from deploy_manager.cli.text import clean, shorten
from deploy_manager.models import Placement
from deploy_manager.packages.auditing import audit
from deploy_manager.packages.exposure import (
    Exposure,
    Unknown,
    unknown_versions,
    unseen,
    vulnerable_packages,
)

VULNERABLE, NOT_KNOWN = 1, 2
"""Exit codes."""

TITLES = ("environment", "package", "version", "where", "advisory", "fixed in")
MOST_UNKNOWN_SHOWN = 20


class Command(EnvironmentCommand):
    help = (
        "Look for advisories now about what is installed and pinned. Ends by 0 where nothing is"
        " known against it, by 1 where something is, and by 2 where that could not be found out."
    )

    def add_subject(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", nargs="?", help="like shop/production; default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        named = options["environment"]
        one = find_environment(named, options["project"]) if named else None
        environments = [one] if one else all_environments()
        view = self.make_view(options)
        checked = audit(environments=environments, is_forced=True)
        exposed, unknown = vulnerable_packages(one), unknown_versions(one)
        servers = list(unseen(environments))
        if isinstance(view, JsonLines):
            _write(view, checked, exposed, unknown, servers)
        else:
            _show(view, checked, exposed, unknown, servers)
        if exposed or unknown or servers:
            sys.exit(VULNERABLE if exposed else NOT_KNOWN)


def _show(
    view: Lines,
    checked: int,
    exposed: Sequence[Exposure],
    unknown: Sequence[Unknown],
    servers: Sequence[Placement],
) -> None:
    if exposed:
        view.list(_table(exposed))
    for each in unknown[:MOST_UNKNOWN_SHOWN]:
        why = each.problem or "Nobody has looked yet."
        view.say(f"unknown: {each.environment}, {each.name} {each.version}: {why}")
    if len(unknown) > MOST_UNKNOWN_SHOWN:
        view.say(f"unknown: {len(unknown) - MOST_UNKNOWN_SHOWN} more versions")
    for placement in servers:
        why = placement.inventory_problem or "It was never asked: run manage.py inventory."
        view.say(f"unknown: {placement.environment}, packages of {placement.server}: {why}")
    if not exposed:
        of_what = " of what is known" if unknown or servers else ""
        view.say(f"{checked} versions checked: no advisory is about any{of_what}.")


def _table(exposed: Sequence[Exposure]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for each in exposed:
        for advisory in each.advisories:
            table.add_row(
                str(each.environment),
                each.name,
                clean(each.version),
                _where(each),
                clean(advisory.identifier),
                clean(", ".join(advisory.first_fixed)) or "no version yet",
            )
    return table


def _where(exposed: Exposure) -> str:
    names = shorten([each.server.name for each in exposed.placements])
    return ", ".join(filter(None, (names, "pinned" if exposed.pinned else "")))


def _write(
    view: JsonLines,
    checked: int,
    exposed: Sequence[Exposure],
    unknown: Sequence[Unknown],
    servers: Sequence[Placement],
) -> None:
    for each in exposed:
        view.write("vulnerable", **_place(each), **_facts(each))
    for one in unknown:
        view.write("unknown", **_place(one), problem=one.problem)
    for placement in servers:
        view.write(
            "unseen",
            environment=str(placement.environment),
            server=placement.server.name,
            problem=placement.inventory_problem,
        )
    view.write("summary", checked=checked, vulnerable=len(exposed), unknown=len(unknown))


def _place(found: Exposure | Unknown) -> dict[str, Any]:
    return {
        "environment": str(found.environment),
        "package": found.name,
        "version": found.version,
        "servers": [each.server.name for each in found.placements],
    }


def _facts(exposed: Exposure) -> dict[str, Any]:
    return {
        "pinned": exposed.pinned,
        "fixed_in": exposed.fixed_in,
        "advisories": [
            {
                "identifier": each.identifier,
                "aliases": each.aliases,
                "summary": each.summary,
                "fixed_in": each.fixed_in,
                "url": each.url,
            }
            for each in exposed.advisories
        ],
    }
