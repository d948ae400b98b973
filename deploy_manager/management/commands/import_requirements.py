"""Read a file that says what is needed into an environment's pins."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import CommandError
from django.db import transaction
from rich.console import Console
from rich.table import Table

from deploy_manager.cli.asking import make_console
from deploy_manager.cli.base import OwnCommand
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.requirements.any_file import folder_files, read_asking
from deploy_manager.requirements.asked import Problem
from deploy_manager.requirements.completing import find_pins
from deploy_manager.requirements.pinning import NOT_PINNED, Pinned
from deploy_manager.requirements.pins import Pin, PinChange, compare_pins, lock_text


class Command(OwnCommand):
    help = "Read a requirements file, or a lock of another tool, into an environment's pins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", help="like production, or shop/production")
        parser.add_argument(
            "file", type=Path, help="a requirements file, pyproject.toml, pylock.toml or uv.lock"
        )
        parser.add_argument(
            "--project", default="", help="where the environment's name is not enough"
        )
        _add_ways_of_reading(parser)
        parser.add_argument(
            "--use",
            action="store_true",
            help="deploy these pins from now on, instead of the deployed commit's own",
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        pinned = _read(environment, options)
        console = make_console(cast(IO[str], self.stdout), no_color=options["no_color"])
        for problem in pinned.problems:
            console.print(f"Left out: {problem}", soft_wrap=True)
        pins = pinned.pins
        _show(console, pins_of(environment), pins)
        if options["dry_run"]:
            console.print("Nothing was written.")
            return
        _write(environment, pins, options["use"])
        if environment.pins_from == Environment.PinsFrom.ROWS:
            told = f"The next deployment of {environment} installs these."
        else:
            told = (
                f"{environment} takes its pins from the deployed commit: the next deployment"
                " replaces these, unless you say --use."
            )
        console.print(told, soft_wrap=True)


def _show(console: Console, before: tuple[Pin, ...], after: tuple[Pin, ...]) -> None:
    changes = compare_pins(before, after)
    if changes:
        console.print(_table(changes))
    elif lock_text(before) != lock_text(after):
        console.print("The versions stay; hashes, extras or markers change.")
    console.print(f"{len(after)} pins, {len(changes)} changed.")


def _add_ways_of_reading(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--lock", action="store_true", help="let uv complete what is not pinned, with hashes"
    )
    parser.add_argument(
        "--python",
        metavar="3.11",
        type=_python_version,
        help="with --lock: the oldest Python of the servers; default: the one here",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out the lines that can't be taken, and import the rest",
    )
    for name, what in (("extra", "an extra"), ("group", "a dependency group")):
        parser.add_argument(
            f"--{name}", action="append", default=[], help=f"with a pyproject.toml: {what} of it"
        )


def _table(changes: tuple[PinChange, ...]) -> Table:
    table = Table(box=None, header_style="bold")
    for title in ("package", "now", "to come"):
        table.add_column(title, overflow="fold")
    for change in changes:
        style = "red" if not change.after else "" if change.before else "green"
        table.add_row(change.name, change.before or "-", change.after or "-", style=style)
    return table


def _read(environment: Environment, options: dict[str, Any]) -> Pinned:
    file: Path = options["file"]
    try:
        top = {file.name: file.read_bytes()}
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error}") from None
    beside = folder_files(file.parent)
    asking = read_asking(
        file.name,
        lambda path: top.get(path) or beside(path),
        extras=options["extra"],
        groups=options["group"],
        folder=environment.project.folder,
    )
    try:
        pinned = find_pins(
            asking,
            file.name,
            resolve=options["lock"],
            skip_bad=options["skip_bad"],
            python_version=options["python"] or "",
            index_url=environment.index_url,
        )
    except PinError as error:
        raise CommandError(str(error)) from None
    if pinned.problems and not options["skip_bad"]:
        raise CommandError(_refusal(file.name, pinned.problems, options["lock"]))
    return pinned


def _refusal(file: str, problems: Sequence[Problem], lock: bool) -> str:
    """Every bad line, and how to go on."""
    told = "\n".join(f"  {problem}" for problem in problems)
    ways = ["mend them", "or leave them out, and import the rest: --skip-bad"]
    if not lock and any(NOT_PINNED in problem.reason for problem in problems):
        ways.insert(1, "let uv find the versions: --lock")
    return (
        f"Nothing was written. What {file} says can't all be taken:\n{told}\nSo {', '.join(ways)}."
    )


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
