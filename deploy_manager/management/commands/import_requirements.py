"""`manage.py import_requirements`: read a file of requirements into an environment's pins."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import IO, Any, cast

from deploy_manager.cli.base import OwnCommand, add_environment, add_project
from deploy_manager.cli.console import make_console
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.packages.requirements import print_changes, read_requirements, write_pins
from deploy_manager.models import Environment
from deploy_manager.packages.pins import pins_of


class Command(OwnCommand):
    help = "Read a requirements file, or the lock file of another tool, into an environment's pins."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_environment(parser)
        parser.add_argument(
            "file", type=Path, help="a requirements file, pyproject.toml, pylock.toml or uv.lock"
        )
        add_project(parser)
        parser.add_argument(
            "--lock", action="store_true", help="let uv complete what is not pinned, with hashes"
        )
        parser.add_argument(
            "--python",
            metavar="3.11",
            type=_python_version,
            help="with --lock: the oldest Python of the servers; default: this machine's",
        )
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help="leave out the lines that can't be imported, and import the rest",
        )
        for name, title in (("extra", "an extra"), ("group", "a dependency group")):
            parser.add_argument(
                f"--{name}",
                action="append",
                default=[],
                help=f"with {title} of a pyproject.toml; may be repeated",
            )
        parser.add_argument(
            "--use",
            action="store_true",
            help="deploy these pins from now on, instead of those of the deployed commit",
        )
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        pinned = read_requirements(
            environment,
            options["file"],
            extras=options["extra"],
            groups=options["group"],
            resolve=options["lock"],
            skip_bad=options["skip_bad"],
            python_version=options["python"] or "",
        )
        console = make_console(cast(IO[str], self.stdout), no_color=options["no_color"])
        for problem in pinned.problems:
            console.print(f"Left out: {problem}", soft_wrap=True)
        print_changes(console, pins_of(environment), pinned.pins)
        if options["dry_run"]:
            console.print("Nothing was written.")
            return
        write_pins(environment, pinned.pins, use=options["use"])
        if environment.pins_from == Environment.PinsFrom.ROWS:
            outcome = f"The next deployment of {environment} installs these."
        else:
            outcome = (
                f"{environment} takes its pins from the deployed commit: the next deployment"
                " replaces these. Add --use to deploy them."
            )
        console.print(outcome, soft_wrap=True)


def _python_version(text: str) -> str:
    if not re.fullmatch(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?", text):
        raise ArgumentTypeError(f"{text} is not a version of Python, like 3.11.")
    return text
