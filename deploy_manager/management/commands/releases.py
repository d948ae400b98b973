"""`manage.py releases`: list an environment's releases, and the servers that have them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.releases import NotesReport, ReleasesReport


class Command(EnvironmentCommand):
    help = (
        "List an environment's releases, newest first: the servers that serve each, and those that"
        " can be rolled back to it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--notes",
            type=int,
            metavar="NUMBER",
            help="the commits that this deployment brought, as Markdown",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment, number = self.find_environment(options), options["notes"]
        view = self.make_view(options)
        if number is None:
            view.show(ReleasesReport.of(environment))
            return
        deployment = environment.deployments.filter(pk=number).first()
        if deployment is None:
            raise CommandError(f"{environment} has no deployment #{number}.", returncode=2)
        view.show(NotesReport.of(deployment))
