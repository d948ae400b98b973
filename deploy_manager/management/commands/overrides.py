"""`manage.py overrides`: list the pins that upgrades hold over a repository, and let one go."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.packages.overrides import OverridesReport, let_override_go
from deploy_manager.cli.packages.pins import FLAG


class Command(EnvironmentCommand):
    help = (
        "List the pins that upgrades moved and the repository does not have yet: they hold over the"
        " repository's pins, whatever is deployed. With --let-go, give one up."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="list those that ended, too")
        parser.add_argument(
            "--let-go", metavar="PACKAGE", default="", help="take the repository's pin again"
        )
        parser.add_argument("--reason", default="", help="reason to let it go, for the history")
        parser.add_argument(
            FLAG, action="store_true", help="let it go even if a known advisory comes back"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment = self.find_environment(options)
        view = self.make_view(options)
        if name := options["let_go"]:
            reason, agreed = options["reason"], options["take_back"]
            let_override_go(environment, name, reason, view, agreed=agreed)
        else:
            view.show(OverridesReport(environment, with_ended=options["all"]))
