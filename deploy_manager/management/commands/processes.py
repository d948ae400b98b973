"""`manage.py processes`: ask servers what runs."""

import sys
from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.exits import FAILED, refuse
from deploy_manager.cli.inventory.environments import find_environments
from deploy_manager.cli.inventory.processes import ProcessReport
from deploy_manager.cli.packages.inventory import find_placements
from deploy_manager.models import Watch
from deploy_manager.models.watches import watched_placements
from deploy_manager.watching.looking import look_at_all


class Command(EnvironmentCommand):
    help = (
        "Ask servers which processes of a site run. Exit code 1 if one is down, restarting, of"
        " another release or unknown, or if a server could not be asked."
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

    def handle(self, *args: Any, **options: Any) -> None:
        environments = find_environments(options["environment"], options["project"])
        named = find_placements(environments, options["server"])
        placements = named.filter(pk__in=watched_placements().values("pk"))
        if not placements:
            refuse("No process of ours runs there: nothing is deployed, or others serve the site.")
        view = self.make_view(options)
        look_at_all(placements)
        watches = Watch.objects.filter(placement__in=placements.values("pk"))
        found = watches.select_related("placement__environment__project", "placement__server")
        ordered = found.order_by("placement__environment", "placement")
        report = ProcessReport(list(ordered.prefetch_related("processes")))
        view.show(report)
        if not report.is_well:
            sys.exit(FAILED)
