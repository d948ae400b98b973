"""Write an environment's pins as a file that installs the same elsewhere."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from deploy_manager.cli.base import OwnCommand
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.requirements.exporting import export_pylock, export_requirements


class Command(OwnCommand):
    help = "Write an environment's pins as a requirements file or a pylock.toml."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", help="like production, or shop/production")
        parser.add_argument(
            "--project", default="", help="where the environment's name is not enough"
        )
        parser.add_argument(
            "--format",
            choices=("requirements", "pylock"),
            default="requirements",
            help="for pip install -r, or PEP 751; default: %(default)s",
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="default: stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        text = _export(environment, options["format"])
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            options["output"].write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['output']} can't be written: {error.strerror}") from None


def _export(environment: Environment, form: str) -> str:
    try:
        pins = checked_pins_of(environment)
        if not pins:
            raise CommandError(
                f"{environment} has no requirements yet: deploy it, or run import_requirements."
            )
        if form == "pylock":
            return export_pylock(pins, environment.index_url)
        return export_requirements(pins)
    except PinError as error:
        raise CommandError(str(error)) from None
