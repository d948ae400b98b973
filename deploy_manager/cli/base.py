"""What our commands have in common: a console, lines for people or JSON, an environment's name."""

from argparse import ArgumentParser
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from deploy_manager.cli.asking import make_console
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines, make_view
from deploy_manager.cli.text import as_text, clean


class OwnCommand(BaseCommand):
    """A command that takes words of any bytes, and whose refusals do nothing to the terminal."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        for stream in (self.stdout, options.get("stdout")):
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="replace")  # what it has no letter for ends no command
        words = {name: as_text(arguments) for name, arguments in options.items()}
        try:
            return super().execute(*map(as_text, args), **words)
        except CommandError as error:
            raise CommandError(clean(str(error)), returncode=error.returncode) from error


class ConsoleCommand(OwnCommand):
    """A command that prints for people or, with --json, for programs."""

    requires_system_checks = ()
    """`manage.py check` asks the broker, too: here what is asked for tells itself."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_own_arguments(parser)
        parser.add_argument("--json", action="store_true", help="JSON lines, the last a summary")

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        """Add what only this command takes."""

    def make_console(self, options: dict[str, Any]) -> Console:
        """Return a console on the command's stdout, which adds no line's end of its own."""
        self.stdout.ending = ""
        return make_console(
            cast(IO[str], self.stdout),
            no_color=options["no_color"],
            force_color=options["force_color"],
        )

    def make_view(self, options: dict[str, Any]) -> JsonLines | Lines:
        """Return what the command shows things on."""
        console = self.make_console(options)
        return JsonLines(console) if options["json"] else make_view(console)


class EnvironmentCommand(ConsoleCommand):
    """A command that works on an environment, or on one of its deployments."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        self.add_subject(parser)
        parser.add_argument(
            "--project", default="", help="where the environment's name is not enough"
        )
        super().add_arguments(parser)

    def add_subject(self, parser: ArgumentParser) -> None:
        """Add the argument that tells on what the command works."""
        parser.add_argument("environment", help="like production, or shop/production")
