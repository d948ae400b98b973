"""`manage.py policies`: list upgrade policies, or run one now."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.automatic import own
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
        parser.add_argument(
            "--owner", default="", metavar="USERNAME", help="let it act in this user's name"
        )
        parser.add_argument(
            "--confirm", action="store_true", help="let it upgrade by what decides now, as it is"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        policies = find_policies(options["name"])
        owns = options["owner"] or options["confirm"]
        if not options["run"] and not owns:
            view.show(PoliciesReport(policies))
            return
        if not options["name"]:
            what = "run" if options["run"] else "take over"
            refuse(f"Name the policy to {what}: {policy_names(policies)}.")
        if owns:
            own(policies[0], view, owner=options["owner"])
        if options["run"]:
            run_policy(policies[0], view)
        else:
            view.write("summary", policy=policies[0].name, paused=policies[0].paused)
