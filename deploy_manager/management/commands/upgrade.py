"""Upgrade packages on environments, one after the other, and see it through."""

import sys
from argparse import ArgumentParser
from typing import Any

from deploy_manager import dispatch
from deploy_manager.cli.asking import refusals, who_asks
from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.upgrades.lines import show_request
from deploy_manager.cli.upgrades.options import HELP, REACHES, UpgradeArguments, plan_for_arguments
from deploy_manager.cli.upgrades.watching import UpgradeWatcher
from deploy_manager.models import UpgradeState
from deploy_manager.upgrades.plan import UpgradePlan

FAILED = 1
"""Exit code; 0 where every environment came through, where nothing had to be done, or was tried."""


class Command(ConsoleCommand):
    help = (
        "Upgrade packages: new environments beside the old ones, a canary, a health check, the"
        " rest, and back by itself where one fails."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "packages", nargs="*", help="like django==5.2.8, or celery; none: all of them"
        )
        parser.add_argument(
            "--environment",
            action="append",
            required=True,
            help="like production, or shop/production; may be repeated: the first goes first",
        )
        parser.add_argument("--project", default="", help="where a name is not enough")
        reaches = parser.add_mutually_exclusive_group()
        for name, (_reach, words) in REACHES.items():
            reaches.add_argument(
                f"--{name}", dest="reach", action="store_const", const=name, help=words
            )
        _add_cares(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        with refusals():
            environments = [
                find_environment(name, options["project"]) for name in options["environment"]
            ]
        plan = plan_for_arguments(environments, _arguments(options), view)
        if plan is not None:
            _see_through(plan, view, leaves=options["no_wait"])


def _add_cares(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help=HELP["reason"])
    parser.add_argument("--soak", type=int, default=0, metavar="SECONDS", help=HELP["soak"])
    parser.add_argument("--cooldown", type=int, default=0, metavar="DAYS", help=HELP["cooldown"])
    parser.add_argument("--stop-on-failure", action="store_true", help=HELP["stop_on_failure"])
    parser.add_argument("--dry-run", action="store_true", help=HELP["dry_run"])
    parser.add_argument("--no-wait", action="store_true", help="ask for it and go")


def _arguments(options: dict[str, Any]) -> UpgradeArguments:
    return UpgradeArguments(
        packages=options["packages"],
        reach=options["reach"] or "",
        reason=options["reason"],
        soak=options["soak"],
        cooldown=options["cooldown"],
        stops=options["stop_on_failure"],
        only_shows=options["dry_run"],
    )


def _see_through(plan: UpgradePlan, view: JsonLines | Lines, *, leaves: bool) -> None:
    interrupts = Interrupts()
    with interrupts.noted():
        with refusals():
            upgrade = dispatch.request_upgrade(
                plan, source="manage.py", requested_by_name=who_asks()
            )
        show_request(upgrade, view)
        if leaves:
            view.say(f"Upgrade {upgrade}: the admin shows how it goes.")
            return
        ended = UpgradeWatcher(upgrade, view, interrupts).watch()
    if ended.state != UpgradeState.SUCCEEDED:
        sys.exit(FAILED)
