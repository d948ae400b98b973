"""Run a deployment again where it did not come through."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.asking import refusals
from deploy_manager.cli.deployments.command import RequestCommand, arguments
from deploy_manager.cli.deployments.find import find_deployment
from deploy_manager.cli.deployments.options import options_to_retry


class Command(RequestCommand):
    help = "Run a deployment again on the servers that did not come through: the same release."

    def add_subject(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "deployment",
            nargs="?",
            default="",
            help="its number, like 12; or an environment, like production: the newest there",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with refusals():
            deployment = find_deployment(options["deployment"], options["project"])
            recipe, wanted = options_to_retry(deployment, arguments(options))
        self.see_through(deployment.environment, recipe, wanted, options)
