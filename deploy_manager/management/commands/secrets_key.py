"""`manage.py secrets_key`: make the key for secrets, or add a new current one."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from deploy_manager.cli.base import OwnCommand
from deploy_manager.conf import get_settings
from deploy_manager.sealing import add_key, id_of, public_text


class Command(OwnCommand):
    help = (
        "Make the file of the keys that open secrets, for the worker only, or put a new key first"
        " in it. Prints the public key, which every process may have."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "path", nargs="?", type=Path, help="default: SECRETS_KEY_FILE of the settings"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path = options["path"] or get_settings().SECRETS_KEY_FILE
        if path is None:
            raise CommandError(
                "Say where the keys shall be: manage.py secrets_key /etc/deploy/secrets.key"
            )
        path = path.expanduser().absolute()
        was_there = path.exists()
        try:
            public = add_key(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise CommandError(f"{path} can't be written: {reason}.") from None
        self.stdout.write(f"{'Added the key' if was_there else 'Made the key'} {id_of(public)}.\n")
        self.stdout.write("In DEPLOY_MANAGER of the worker, and of nothing else:")
        self.stdout.write(f'    "SECRETS_KEY_FILE": "{path}",')
        self.stdout.write("In DEPLOY_MANAGER of the web server, and of the worker:")
        self.stdout.write(f'    "SECRETS_PUBLIC_KEY": "{public_text(public)}",')
        if was_there:
            self.stdout.write("Then seal all secrets with it: manage.py rotate_secrets")
        else:
            self.stdout.write("Keep a copy of the file elsewhere: without it no secret opens.")
