"""`manage.py cancel`: stop a deployment."""

import sys
from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.find import find_live_deployment
from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.deployments.watching import show_request, watch, write_summary
from deploy_manager.cli.exits import FAILED, refuse
from deploy_manager.deployments.ending import cancel
from deploy_manager.models import State
from deploy_manager.requester import requester_name


class Command(EnvironmentCommand):
    help = "Stop a deployment and watch it end. Exit code 0 only if it ended as cancelled."

    def add_subject(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "deployment",
            help="its number, like 12; or an environment, like production: what is under way there",
        )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-wait", action="store_true", help="request it and do not watch")

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        deployment = find_live_deployment(options["deployment"], options["project"])
        # Output from before the cancellation is not shown again.
        cursor = deployment.sequence
        if not cancel(deployment, requester_name()):
            refuse(f"{deployment} has ended already: {deployment.get_state_display()}.")
        interrupts = Interrupts()
        with interrupts.noted():
            show_request(deployment, view)
            if options["no_wait"]:
                write_summary(deployment, view)
                return
            if watch(deployment, view, interrupts, after=cursor).state != State.CANCELLED:
                sys.exit(FAILED)
