"""`manage.py deploy`: deploy an environment."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand, add_ref, add_servers
from deploy_manager.models.deployments import DEPLOY


class Command(RequestCommand):
    help = "Deploy an environment and watch it. Exit code 0 only if every server succeeded."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        add_ref(parser)
        add_servers(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_recipe(DEPLOY, options)
