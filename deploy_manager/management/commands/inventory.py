"""`manage.py inventory`: ask servers which packages are installed."""

import sys
from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.exits import refusals
from deploy_manager.cli.inventory.environments import find_environments
from deploy_manager.cli.packages.inventory import InventoryReport, find_placements
from deploy_manager.packages.exposure import parse_bounds
from deploy_manager.packages.inventory import take_inventories

NOT_ALL_ANSWERED = 1
"""Exit code."""


class Command(EnvironmentCommand):
    help = (
        "Ask servers which packages are installed, and show where they differ from each other or"
        " from the pins. Exit code 1 if a server could not be asked."
    )

    def add_subject(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", nargs="?", help="like shop/production; default: all")

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--server",
            action="append",
            default=[],
            metavar="NAME",
            help="ask this server only; may be repeated",
        )
        parser.add_argument(
            "--runs",
            default="",
            metavar="'django<5.2.8'",
            help="show the servers that run such a version",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environments = find_environments(options["environment"], options["project"])
        with refusals():
            bounds = str(parse_bounds(options["runs"])) if options["runs"] else ""
        placements = find_placements(environments, options["server"])
        view = self.make_view(options)
        problems = take_inventories(placements)
        view.show(InventoryReport(list(placements), problems, bounds))
        if any(problems.values()):
            sys.exit(NOT_ALL_ANSWERED)
