"""Read a requirements file into an environment's pins."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from deploy_manager.exceptions import PinError
from deploy_manager.management.environments import find_environment
from deploy_manager.models import Environment
from deploy_manager.requirements import Pin, PinChange, compare_pins, complete_pins, read_pins
from deploy_manager.runner.pins import pins_of, replace_pins


class Command(BaseCommand):
    help = "Read a requirements file into an environment's pins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", help="like production, or shop/production")
        parser.add_argument("file", type=Path, help="a requirements file")
        parser.add_argument(
            "--project", default="", help="where the environment's name is not enough"
        )
        parser.add_argument(
            "--lock",
            action="store_true",
            help="let uv complete what is not pinned, with hashes",
        )
        parser.add_argument(
            "--use",
            action="store_true",
            help="deploy these pins from now on, instead of the deployed commit's own",
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        pins = _read(options["file"], options["lock"])
        self._show(compare_pins(pins_of(environment), pins), len(pins))
        if options["dry_run"]:
            self.stdout.write("Nothing was written.")
            return
        replace_pins(environment, pins)
        self._tell_what_is_deployed(environment, options["use"])

    def _show(self, changes: tuple[PinChange, ...], number: int) -> None:
        table = Table(box=None, header_style="bold")
        for title in ("package", "now", "to come"):
            table.add_column(title)
        for change in changes:
            table.add_row(change.name, change.before or "-", change.after or "-")
        console = Console(file=self.stdout)
        if changes:
            console.print(table)
        console.print(f"{number} pins, {len(changes)} changed.")

    def _tell_what_is_deployed(self, environment: Environment, use: bool) -> None:
        if use:
            environment.pins_from = Environment.PinsFrom.ROWS
            environment.save(update_fields=["pins_from"])
        if environment.pins_from == Environment.PinsFrom.ROWS:
            self.stdout.write(f"The next deployment of {environment} installs these.")
        else:
            self.stdout.write(
                f"{environment} takes its pins from the deployed commit: the next deployment"
                " replaces these, unless you say --use."
            )


def _read(file: Path, lock: bool) -> tuple[Pin, ...]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} can't be read: {error}") from None
    try:
        return complete_pins(text, file.name) if lock else read_pins(text, file.name)
    except PinError as error:
        raise CommandError(f"{error}{'' if lock else ' Or let uv do it: --lock.'}") from None
