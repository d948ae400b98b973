"""`manage.py upgrade`: upgrade packages on environments, one after the other."""

import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from deploy_manager import dispatch
from deploy_manager.cli.base import ConsoleCommand, add_project, duration
from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.exits import FAILED, refusals
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.upgrades.help import HELP, REACH_HELP
from deploy_manager.cli.upgrades.options import plan_for_arguments
from deploy_manager.cli.upgrades.reports import OutcomeReport, show_upgrade_request
from deploy_manager.cli.upgrades.watching import UpgradeWatcher
from deploy_manager.models import UpgradeState
from deploy_manager.requester import requester_name
from deploy_manager.upgrades.arguments import UpgradeArguments


class Command(ConsoleCommand):
    help = (
        "Upgrade packages: new virtual environments beside the old ones, a canary, a health check,"
        " the other servers, and an automatic rollback if one fails. Exit code 0 if every"
        " environment succeeded or there was nothing to do."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("packages", nargs="*", help=HELP["package"])
        parser.add_argument(
            "--environment",
            action="append",
            required=True,
            help="like production, or shop/production; may be repeated, in the order to upgrade",
        )
        add_project(parser)
        reaches = parser.add_mutually_exclusive_group()
        for name, text in REACH_HELP.items():
            reaches.add_argument(
                f"--{name}", dest="reach", action="store_const", const=name, default="", help=text
            )
        parser.add_argument("--reason", default="", help=HELP["reason"])
        for name in ("soak", "cooldown"):
            parser.add_argument(
                f"--{name}", type=duration, default=timedelta(), metavar="10m", help=HELP[name]
            )
        parser.add_argument("--stop-on-failure", action="store_true", help=HELP["stop_on_failure"])
        parser.add_argument("--dry-run", action="store_true", help=HELP["dry_run"])
        parser.add_argument("--take-back", action="store_true", help=HELP["take_back"])
        parser.add_argument("--no-wait", action="store_true", help="request it and do not watch")

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        with refusals():
            environments = [
                find_environment(name, options["project"]) for name in options["environment"]
            ]
        arguments = UpgradeArguments(
            packages=options["packages"],
            reach=options["reach"],
            reason=options["reason"],
            soak=options["soak"],
            cooldown=options["cooldown"],
            stops=options["stop_on_failure"],
            dry_run=options["dry_run"],
            take_back=options["take_back"],
        )
        plan = plan_for_arguments(environments, arguments, view)
        if plan is None:
            return
        interrupts = Interrupts()
        with interrupts.noted():
            with refusals():
                upgrade = dispatch.request_upgrade(
                    plan, source="manage.py", requested_by_name=requester_name()
                )
            show_upgrade_request(upgrade, view)
            if options["no_wait"]:
                view.remark(str(upgrade.message))
                view.say(f"Upgrade {upgrade}: the admin shows its progress.")
                view.show(OutcomeReport(upgrade))
                return
            ended = UpgradeWatcher(upgrade, view, interrupts).watch()
        if ended.state != UpgradeState.SUCCEEDED:
            sys.exit(FAILED)
