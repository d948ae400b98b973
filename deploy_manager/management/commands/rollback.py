"""`manage.py rollback`: let an environment serve an earlier release again."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand, add_release, add_servers
from deploy_manager.models.deployments import ROLLBACK


class Command(RequestCommand):
    help = "Let an environment serve an earlier release again: a switch that installs nothing."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        add_release(parser)
        add_servers(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_recipe(ROLLBACK, options)
