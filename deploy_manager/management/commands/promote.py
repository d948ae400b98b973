"""`manage.py promote`: bring to an environment exactly what another one serves."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand, add_servers
from deploy_manager.cli.deployments.options import HELP
from deploy_manager.models.deployments import DEPLOY


class Command(RequestCommand):
    help = (
        "Deploy exactly what another environment serves, commit and lock file, and watch it."
        " Exit code 0 only if every server succeeded."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="source", default="", metavar="ENVIRONMENT", help=HELP["from"]
        )
        add_servers(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_recipe(DEPLOY, options)
