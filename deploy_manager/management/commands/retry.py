"""`manage.py retry`: run a deployment again on the servers that did not succeed."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand, read_arguments
from deploy_manager.cli.deployments.find import find_deployment
from deploy_manager.cli.exits import refusals
from deploy_manager.deployments.arguments import options_to_retry


class Command(RequestCommand):
    help = "Run a deployment again, with the same release, on the servers that did not succeed."

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
            recipe, deployment_options = options_to_retry(deployment, read_arguments(options))
        self.plan_and_run(deployment.environment, recipe, deployment_options, options)
