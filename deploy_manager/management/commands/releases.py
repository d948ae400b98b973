"""`manage.py releases`: list an environment's releases, and the servers that have them."""

from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.releases import ReleasesReport


class Command(EnvironmentCommand):
    help = (
        "List an environment's releases, newest first: the servers that serve each, and those that"
        " can be rolled back to it."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        environment = self.find_environment(options)
        self.make_view(options).show(ReleasesReport.of(environment))
