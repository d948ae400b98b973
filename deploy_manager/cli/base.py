"""Base classes of the management commands: text, views, and the environment they work on."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError

from deploy_manager.auditing import Actor, acting
from deploy_manager.cli.console import make_console
from deploy_manager.cli.exits import REFUSED
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.text import as_text, clean
from deploy_manager.cli.views.base import View
from deploy_manager.cli.views.terminal import make_view
from deploy_manager.deployments.times import parse_duration
from deploy_manager.messages import message_of
from deploy_manager.models import Environment
from deploy_manager.requester import requester_name


class OwnCommand(BaseCommand):
    """Takes arguments of any bytes; its error messages have no control characters."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        for stream in (self.stdout, options.get("stdout")):
            if reconfigure := getattr(stream, "reconfigure", None):
                # A letter that the terminal's encoding lacks must not end the command.
                reconfigure(errors="replace")
        # Here and not in handle, since call_command passes options that no parser has seen.
        given = {name: as_text(value) for name, value in options.items()}
        name = type(self).__module__.rpartition(".")[2]
        try:
            with acting(Actor(requester_name(), f"manage.py {name}")):
                return super().execute(*map(as_text, args), **given)
        except CommandError as error:
            raise CommandError(clean(str(error)), returncode=error.returncode) from error


class ConsoleCommand(OwnCommand):
    """Prints for people or, with --json, for programs."""

    requires_system_checks = ()
    """The checks would wait for the broker: a command reports only what it needs itself."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            # On stdout, which programs read; Django prints the same on stderr, for people.
            if options.get("json"):
                state = "refused" if error.returncode == REFUSED else "failed"
                self.make_view(options).write(
                    "summary", state=state, message=message_of(error.__cause__ or error)
                )
            raise

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_own_arguments(parser)
        parser.add_argument(
            "--json", action="store_true", help="print JSON lines, the last one a summary"
        )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        """Add the arguments of this command alone."""

    def make_view(self, options: dict[str, Any]) -> View:
        """Return the view on the command's output."""
        # Django would add the end of line that rich prints as well.
        self.stdout.ending = ""
        console = make_console(
            cast(IO[str], self.stdout),
            no_color=options["no_color"],
            force_color=options["force_color"],
        )
        return make_view(console, as_json=options["json"])


class EnvironmentCommand(ConsoleCommand):
    """Works on an environment, or on one of its deployments."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_subject(parser)
        add_project(parser)
        super().add_arguments(parser)

    def add_subject(self, parser: ArgumentParser) -> None:
        """Add the argument that names the environment or the deployment."""
        add_environment(parser)

    def find_environment(self, options: dict[str, Any]) -> Environment:
        """Return the environment that the arguments name. Raises CommandError."""
        return find_environment(options["environment"], options["project"])


def add_environment(parser: ArgumentParser) -> None:
    parser.add_argument("environment", help="name, like production or shop/production")


def add_project(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--project", default="", help="name of the project, if several have this environment"
    )


def duration(text: str) -> timedelta:
    """Read a duration for argparse, which shows the message of this exception only."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
