"""`manage.py export_requirements`: write an environment's pins as a file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from deploy_manager.cli.base import OwnCommand, add_environment, add_project
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.packages.requirements import export_pins


class Command(OwnCommand):
    help = "Write an environment's pins as a requirements file or a pylock.toml."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_environment(parser)
        add_project(parser)
        parser.add_argument(
            "--format",
            choices=("requirements", "pylock"),
            default="requirements",
            help="for pip install -r, or PEP 751; default: %(default)s",
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="default: stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        text = export_pins(environment, options["format"])
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            options["output"].write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['output']} can't be written: {error.strerror}") from None
