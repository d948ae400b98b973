"""`manage.py tokens`: list, issue and revoke tokens of the API."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.tokens import TokensReport, find_token, find_user, issue, revoke
from deploy_manager.models.tokens import Scope


class Command(ConsoleCommand):
    help = (
        "List the tokens of the API; issue one, whose secret is printed once; or revoke one. What"
        " is done with a token is done in the name of its user."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--issue", metavar="NAME", help="make one: where it is to be used")
        what.add_argument(
            "--revoke", metavar="TOKEN", help="end one at once: how it begins, or its name"
        )
        parser.add_argument("--user", default="", help="for --issue: who acts by it")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            default=[],
            help="for --issue: what it may do; may be repeated",
        )
        parser.add_argument(
            "--environment",
            action="append",
            default=[],
            help="for --issue: where; may be repeated; default: wherever its user may",
        )
        parser.add_argument(
            "--days", type=int, default=90, help="for --issue: it expires after so many; 0: never"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        if options["revoke"]:
            revoke(find_token(options["revoke"]), view)
        elif options["issue"]:
            environments = [find_environment(each) for each in options["environment"]]
            issue(
                options["issue"],
                find_user(options["user"]),
                options["scope"],
                environments,
                options["days"],
                view,
            )
        else:
            view.show(TokensReport())
