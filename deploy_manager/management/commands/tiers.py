"""`manage.py tiers`: show what would change in an environment's tiers, and apply it."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand, add_servers
from deploy_manager.cli.exits import refusals, refuse
from deploy_manager.cli.packages.pins import agrees
from deploy_manager.deployments.site_tiers import describe_tiers


class Command(RequestCommand):
    help = (
        "Show what would change in the web servers, databases and caches of an environment, and"
        " apply it once that is agreed to. Exit code 0 only if every server succeeded."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        add_servers(parser)
        parser.add_argument("--preview", action="store_true", help="show it only")

    def handle(self, *args: Any, **options: Any) -> None:
        with refusals():
            environment = self.find_environment(options)
            tiers = describe_tiers(environment)
        view = self.make_view(options)
        if not tiers:
            view.remark("It has no tiers: what was applied before is taken away.")
        for line in tiers:
            view.remark(str(line))
        if not options["yes"]:
            # It only looks: what is asked comes after it.
            self.run_recipe("preview_tiers", options | {"yes": True})
        if options["preview"] or options["dry_run"] or options["no_wait"]:
            return
        if not options["yes"] and not agrees("Apply this? [y/N] ", view):
            refuse("Nothing was applied: agree to it, or add --yes.")
        self.run_recipe("tiers", options | {"yes": True})
