"""`manage.py manage_site`: run a management command of a site once, on one of its servers."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.deployments.command import RequestCommand
from deploy_manager.models.deployments import MANAGE_SITE


class Command(RequestCommand):
    help = (
        "Run a command of the site's manage.py on one server, in the release that serves, and watch"
        " it: manage_site production -- clearsessions --verbosity 2. It has no terminal. Its words"
        " and what it prints are stored and shown: put no password in them."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "words", nargs="+", metavar="word", help="the command and its arguments, after --"
        )
        parser.add_argument(
            "--server",
            action="append",
            default=[],
            help="run it on this server; default: the first of the environment",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.run_recipe(MANAGE_SITE, options)
