"""`manage.py converge`: make servers like the others of their environment."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand
from deploy_manager.models.deployments import CONVERGE


class Command(RequestCommand):
    help = (
        "Bring servers that are new or out of sync to the release that most others of the"
        " environment serve."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", nargs="+", metavar="SERVER")

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_recipe(CONVERGE, options)
