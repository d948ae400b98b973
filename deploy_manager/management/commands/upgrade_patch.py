"""Print what an upgrade installed as a patch for the repository, or keep it as a commit."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from deploy_manager.cli.asking import refusals
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Upgrade, UpgradeStage
from deploy_manager.upgrades.handing_back import keep_as_commit, patch_of, patchable


class Command(BaseCommand):
    help = "Print the pins that an upgrade moved as a patch of the repository, for git am."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("upgrade", type=int, help="its number, like 12")
        parser.add_argument(
            "--environment", default="", help="where it had several: like production"
        )
        parser.add_argument(
            "--commit", action="store_true", help="keep it in the mirror, and tell how to fetch it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with refusals():
            stage = _find(options["upgrade"], options["environment"])
            if options["commit"]:
                self.stdout.write(keep_as_commit(stage))
            else:
                self._write(patch_of(stage))

    def _write(self, patch: bytes) -> None:
        """Byte by byte: a requirements file may be in another encoding than this terminal."""
        if raw := getattr(self.stdout, "buffer", None):
            raw.write(patch)
            raw.flush()
        else:
            self.stdout.write(patch.decode(errors="replace"), ending="")


def _find(number: int, environment: str) -> UpgradeStage:
    """Return the stage that is meant. Raises RequestRefused, saying which there are."""
    if not Upgrade.objects.filter(pk=number).exists():
        raise RequestRefused(f"There is no upgrade #{number}.")
    stages = list(patchable(UpgradeStage.objects.filter(upgrade=number)).order_by("number"))
    if not stages:
        raise RequestRefused(
            f"Upgrade #{number} has nothing for a repository: it succeeded nowhere where the"
            " repository says what is installed."
        )
    found = [
        stage
        for stage in stages
        if environment in ("", stage.environment.name, str(stage.environment))
    ]
    if len(found) != 1:
        known = ", ".join(str(stage.environment) for stage in stages)
        raise RequestRefused(f"Say which --environment: {known}.")
    return found[0]
