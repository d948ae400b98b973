"""`manage.py policies`: list upgrade policies, or run one now."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.exits import refuse
from deploy_manager.cli.upgrades.policies import (
    PoliciesReport,
    find_policies,
    policy_names,
    run_policy,
)


class Command(ConsoleCommand):
    help = "List the policies that upgrade packages automatically, or run one now."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="of one policy; default: all")
        parser.add_argument(
            "--run", action="store_true", help="look now for what it may upgrade, and start that"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        policies = find_policies(options["name"])
        if not options["run"]:
            view.show(PoliciesReport(policies))
        elif options["name"]:
            run_policy(policies[0], view)
        else:
            refuse(f"Name the policy to run: {policy_names(policies)}.")
