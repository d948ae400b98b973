"""Make servers like the others of their environment."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand
from deploy_manager.cli.deployments.options import CONVERGE


class Command(RequestCommand):
    help = "Make new or strayed servers like the others: the release that most of those serve."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", nargs="+", metavar="SERVER")

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_recipe(CONVERGE, options)
