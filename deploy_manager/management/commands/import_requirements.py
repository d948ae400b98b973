"""Read a requirements file into an environment's pins."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from rich.table import Table

from deploy_manager.exceptions import PinError
from deploy_manager.management.asking import make_console
from deploy_manager.management.environments import find_environment
from deploy_manager.models import Environment
from deploy_manager.requirements import (
    Pin,
    PinChange,
    compare_pins,
    complete_pins,
    lock_text,
    read_pins,
)
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
            "--python",
            metavar="3.11",
            type=_python_version,
            help="with --lock: the oldest Python of the servers; default: the one here",
        )
        parser.add_argument(
            "--use",
            action="store_true",
            help="deploy these pins from now on, instead of the deployed commit's own",
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        pins = _read(options["file"], environment, options["lock"], options["python"] or "")
        self._show(pins_of(environment), pins, options["no_color"])
        if options["dry_run"]:
            self.stdout.write("Nothing was written.")
            return
        _write(environment, pins, options["use"])
        if environment.pins_from == Environment.PinsFrom.ROWS:
            self.stdout.write(f"The next deployment of {environment} installs these.")
        else:
            self.stdout.write(
                f"{environment} takes its pins from the deployed commit: the next deployment"
                " replaces these, unless you say --use."
            )

    def _show(self, before: tuple[Pin, ...], after: tuple[Pin, ...], no_color: bool) -> None:
        console = make_console(cast(IO[str], self.stdout), no_color=no_color)
        changes = compare_pins(before, after)
        if changes:
            console.print(_table(changes))
        elif lock_text(before) != lock_text(after):
            console.print("The versions stay; hashes, extras or markers change.")
        console.print(f"{len(after)} pins, {len(changes)} changed.")


def _table(changes: tuple[PinChange, ...]) -> Table:
    table = Table(box=None, header_style="bold")
    for title in ("package", "now", "to come"):
        table.add_column(title, overflow="fold")
    for change in changes:
        style = "red" if not change.after else "" if change.before else "green"
        table.add_row(change.name, change.before or "-", change.after or "-", style=style)
    return table


def _read(file: Path, environment: Environment, lock: bool, python: str) -> tuple[Pin, ...]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} can't be read: {error}") from None
    try:
        if lock:
            return complete_pins(text, file.name, python, environment.index_url)
        return read_pins(text, file.name)
    except PinError as error:
        raise CommandError(f"{error}{'' if lock else ' Or let uv do it: --lock.'}") from None


def _write(environment: Environment, pins: tuple[Pin, ...], use: bool) -> None:
    with transaction.atomic():
        replace_pins(environment, pins)
        if use:
            environment.pins_from = Environment.PinsFrom.ROWS
            environment.save(update_fields=["pins_from"])


def _python_version(text: str) -> str:
    if not re.fullmatch(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?", text):
        raise ArgumentTypeError(f"{text} is no version of Python, like 3.11.")
    return text
