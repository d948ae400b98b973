"""Requirements files on a command line: read into an environment's pins, and written from them."""

from collections.abc import Sequence
from pathlib import Path

from django.core.management import CommandError
from django.db import transaction
from rich.console import Console

from deploy_manager.cli.views.base import make_table
from deploy_manager.credentials import index_of
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment
from deploy_manager.packages.pins import checked_pins_of, replace_pins
from deploy_manager.requirements.any_file import folder_files, read_asking
from deploy_manager.requirements.completing import find_pins
from deploy_manager.requirements.exporting import export_pylock, export_requirements
from deploy_manager.requirements.pinning import NOT_PINNED, Pinned
from deploy_manager.requirements.pins import Pin, compare_pins, lock_text


def read_requirements(
    environment: Environment,
    file: Path,
    *,
    extras: Sequence[str],
    groups: Sequence[str],
    resolve: bool,
    skip_bad: bool,
    python_version: str,
) -> Pinned:
    """Return the pins of a file, completed by uv if `resolve`.

    Raises CommandError for a file that cannot be read, and for bad lines unless `skip_bad`.
    """
    try:
        top = {file.name: file.read_bytes()}
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error}") from None
    # Files that it includes are read from the same folder, never from outside of it.
    beside = folder_files(file.parent)
    asking = read_asking(
        file.name,
        lambda path: top.get(path) or beside(path),
        extras=extras,
        groups=groups,
        folder=environment.project.folder,
    )
    try:
        pinned = find_pins(
            asking,
            file.name,
            resolve=resolve,
            skip_bad=skip_bad,
            python_version=python_version,
            index_url=index_of(environment),
        )
    except PinError as error:
        raise CommandError(str(error)) from None
    if pinned.problems and not skip_bad:
        lines = "\n".join(f"  {problem}" for problem in pinned.problems)
        ways = ["fix them", "or leave them out and import the rest: --skip-bad"]
        if not resolve and any(NOT_PINNED in problem.reason for problem in pinned.problems):
            ways.insert(1, "let uv find the versions: --lock")
        raise CommandError(
            f"Nothing was written. Some lines of {file.name} can't be imported:\n{lines}\n"
            f"You can {', '.join(ways)}."
        )
    return pinned


def print_changes(console: Console, before: tuple[Pin, ...], after: tuple[Pin, ...]) -> None:
    """Print the pins that change, and how many there are."""
    changes = compare_pins(before, after)
    if changes:
        table = make_table("package", "now", "to come")
        for change in changes:
            style = "red" if not change.after else "" if change.before else "green"
            table.add_row(change.name, change.before or "-", change.after or "-", style=style)
        console.print(table)
    elif lock_text(before) != lock_text(after):
        console.print("The versions stay; hashes, extras or markers change.")
    console.print(f"{len(after)} pins, {len(changes)} changed.")


def write_pins(environment: Environment, pins: tuple[Pin, ...], *, use: bool) -> None:
    """Replace the environment's pins; with `use`, deploy them instead of the commit's own."""
    with transaction.atomic():
        replace_pins(environment, pins)
        if use:
            environment.pins_from = Environment.PinsFrom.ROWS
            environment.save(update_fields=["pins_from"])


def export_pins(environment: Environment, file_format: str) -> str:
    """Return the pins as a requirements file or a pylock.toml. Raises CommandError."""
    try:
        pins = checked_pins_of(environment)
        if not pins:
            raise CommandError(
                f"{environment} has no requirements yet: deploy it, or run import_requirements."
            )
        if file_format == "pylock":
            return export_pylock(pins, index_of(environment))
        return export_requirements(pins)
    except PinError as error:
        raise CommandError(str(error)) from None
