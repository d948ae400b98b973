"""Let no release change on an environment."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.asking import refusals, refuse, who_asks
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.inventory.freezes import show_freeze
from deploy_manager.cli.moments import parse_moment
from deploy_manager.models import Environment


class Command(EnvironmentCommand):
    help = "Let no release change on an environment until a time, or until it is thawed."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True, help="told to whoever asks for a change")
        parser.add_argument(
            "--until",
            default="",
            metavar="'2027-01-04 08:00'",
            help="by the environment's own clock unless it has an offset; default: till thawed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        reason = _check_reason(options["reason"])
        with refusals():
            until = parse_moment(options["until"], environment) if options["until"] else None
        view = self.make_view(options)
        if environment.is_frozen:
            view.say(f"Until now: {environment.describe_freeze()}")
        environment.freeze(reason, who_asks(), until)
        show_freeze(environment, view)


def _check_reason(reason: str) -> str:
    most = Environment._meta.get_field("frozen_reason").max_length or 0
    if not reason.strip():
        refuse("Say why: whoever is kept from a change is told.")
    if len(reason) > most:
        refuse(f"The reason is longer than {most} characters.")
    return reason
