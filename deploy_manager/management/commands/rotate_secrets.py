"""`manage.py rotate_secrets`: seal all secrets with the current key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from deploy_manager.cli.base import OwnCommand
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.logs import plain
from deploy_manager.rotation import keys_in_use, rotate

NOT_NEEDED = (
    "not needed: its line can be removed once each web server has the current public key and was"
    " started again"
)


class Command(OwnCommand):
    help = (
        "Seal every secret with the first key of SECRETS_KEY_FILE. It may be stopped and run again;"
        " exits with 1 if secrets are left."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="change nothing: say how many are left, and which keys are not needed any more",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if not options["check"]:
                self._rotate()
            left = self._show_keys()
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        if left:
            raise CommandError(f"{left} secrets are not sealed with the current key.", returncode=1)

    def _rotate(self) -> None:
        done = rotate()
        self.stdout.write(f"{done.sealed} secrets sealed anew.")
        if done.changed:
            self.stdout.write(f"{done.changed} were changed meanwhile, and looked at again.")
        for each in done.unreadable:
            self.stderr.write(plain(str(each)))

    def _show_keys(self) -> int:
        """Print what each key is needed for; return how many secrets are not by the current one."""
        left = 0
        for use in keys_in_use():
            if use.is_current:
                what = "current"
            elif not use.is_in_file:
                what = "missing: these secrets can't be opened"
            else:
                what = "needed" if use.secrets else NOT_NEEDED
            left += 0 if use.is_current else use.secrets
            self.stdout.write(f"key {use.key_id or '-'}: {use.secrets} secrets, {what}")
        return left
