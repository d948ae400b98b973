"""`manage.py freeze`: stop releases from changing on an environment."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.auditing import noting
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.exits import refusals
from deploy_manager.cli.inventory.freezes import FreezeReport, check_reason
from deploy_manager.deployments.times import parse_moment
from deploy_manager.models.freezes import ENDED
from deploy_manager.requester import requester_name


class Command(EnvironmentCommand):
    help = "Freeze an environment: no release changes until a time, or until it is thawed."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--reason", required=True, help="reason, shown to everyone who requests a change"
        )
        parser.add_argument(
            "--until",
            default="",
            metavar="'2027-01-04 08:00'",
            help="in the environment's time zone unless it has an offset; default: until thawed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment = self.find_environment(options)
        reason = check_reason(options["reason"])
        with refusals():
            until = parse_moment(options["until"], environment) if options["until"] else None
        view = self.make_view(options)
        if before := environment.active_freeze:
            view.say(f"This replaces another freeze: {before.describe()}")
        with noting(environment.freezes.open(), *ENDED):
            is_frozen = environment.freeze(reason, requester_name(), until)
        if not is_frozen:
            view.say("Someone else froze it at the same moment: that freeze holds.")
        view.show(FreezeReport(environment))
