"""`manage.py retention`: show how much is kept, and remove what is past its time."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.deployments.retention import RetentionReport
from deploy_manager.deployments.retention import holdings, remove_past


class Command(ConsoleCommand):
    help = (
        "Show how much there is of logs, deployments, audit and cached packages, and what is past"
        " the days that DEPLOY_MANAGER['RETENTION'] keeps it."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--remove", action="store_true", help="remove what is past its time")

    def handle(self, *args: Any, **options: Any) -> None:
        removed = remove_past() if options["remove"] else {}
        self.make_view(options).show(RetentionReport(holdings(), removed))
