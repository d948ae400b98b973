"""Stop releases from changing on an environment."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.asking import refusals, refuse, who_asks
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.inventory.freezes import show_freeze
from deploy_manager.cli.moments import parse_moment
from deploy_manager.models import Freeze


class Command(EnvironmentCommand):
    help = "Stop releases from changing on an environment until a time, or until it is thawed."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--reason", required=True, help="shown to everyone who asks for a change"
        )
        parser.add_argument(
            "--until",
            default="",
            metavar="'2027-01-04 08:00'",
            help="by the environment's own clock unless it has an offset; default: until thawed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        reason = options["reason"]
        most = Freeze._meta.get_field("reason").max_length or 0
        if not reason.strip():
            refuse("Give a reason: it is shown to everyone who asks for a change.")
        if len(reason) > most:
            refuse(f"The reason is longer than {most} characters.")
        with refusals():
            until = parse_moment(options["until"], environment) if options["until"] else None
        view = self.make_view(options)
        if before := environment.active_freeze:
            view.say(f"Until now: {before.describe()}")
        if not environment.freeze(reason, who_asks(), until):
            view.say("Someone else froze it at the same moment.")
        show_freeze(environment, view)
