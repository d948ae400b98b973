"""`manage.py upgrade_patch`: the pins of an upgrade as a patch, or a commit, for the repository."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from deploy_manager.cli.exits import refusals
from deploy_manager.cli.upgrades.patches import find_stage
from deploy_manager.upgrades.handing_back import keep_as_commit, patch_of


class Command(BaseCommand):
    help = (
        "Print the pins that an upgrade moved as a patch of the repository: git apply changes the"
        " files, git am commits them, too."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("upgrade", type=int, help="its number, like 12")
        parser.add_argument(
            "--environment", default="", help="if it had several: the one, like production"
        )
        parser.add_argument(
            "--commit",
            action="store_true",
            help="keep it as a commit in the mirror, and print how to fetch it",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with refusals():
            stage = find_stage(options["upgrade"], options["environment"])
            if options["commit"]:
                self.stdout.write(keep_as_commit(stage))
            else:
                self._write_bytes(patch_of(stage))

    def _write_bytes(self, patch: bytes) -> None:
        # Not as text: the files in a patch may have another encoding than this terminal.
        if raw := getattr(self.stdout, "buffer", None):
            raw.write(patch)
            raw.flush()
        else:
            self.stdout.write(patch.decode(errors="replace"), ending="")
