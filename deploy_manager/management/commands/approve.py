"""`manage.py approve`: list what waits for approval, approve or deny it."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import PermissionDenied

from deploy_manager import dispatch
from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.deployments.approving import ApprovalsReport, facts_of, prove_user
from deploy_manager.cli.deployments.find import find_deployment
from deploy_manager.cli.exits import refusals, refuse
from deploy_manager.models import Deployment
from deploy_manager.requester import requester_name


class Command(ConsoleCommand):
    help = "List what waits for approval; approve or deny a deployment as a user of this site."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", nargs="?", default="", help="of a deployment; default: list")
        parser.add_argument(
            "--as",
            dest="username",
            default="",
            metavar="USERNAME",
            help="who decides: a user of this site, who is asked for the password",
        )
        parser.add_argument("--deny", action="store_true", help="deny it, which ends it")
        parser.add_argument(
            "--break-glass",
            action="store_true",
            help="let it run without approval; needs --reason, which everybody is told",
        )
        parser.add_argument("--reason", default="", help="reason, shown in the history")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read the password from stdin"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        if not options["number"]:
            view.show(ApprovalsReport())
            return
        if options["break_glass"]:
            self.break_glass(options)
            return
        if not options["username"]:
            refuse("Say who decides: --as USERNAME. An account of this machine is no user.")
        deployment = self.find_waiting(options["number"])
        user = prove_user(options["username"], from_stdin=options["password_stdin"])
        try:
            with refusals():
                approval = dispatch.decide(
                    deployment, user, approves=not options["deny"], reason=options["reason"]
                )
        except PermissionDenied as error:
            refuse(str(error))
        deployment.refresh_from_db()
        view.remark(f"{approval.get_decision_display()}. {deployment.message}".strip())
        view.write("approval", decision=approval.decision, by=approval.user_name)
        view.write("summary", **facts_of(deployment), message=deployment.message)

    def find_waiting(self, number: str) -> Deployment:
        """Return the deployment with this number. Raises CommandError."""
        if not number.lstrip("#").isdecimal():
            refuse("Name the deployment by its number.")
        return find_deployment(number)

    def break_glass(self, options: dict[str, Any]) -> None:
        """Let it run without approval, in the name of this account. Raises CommandError."""
        deployment = self.find_waiting(options["number"])
        view = self.make_view(options)
        with refusals():
            dispatch.break_glass(deployment, by=requester_name(), reason=options["reason"])
        deployment.refresh_from_db()
        view.remark("It goes without approval, and people are told.")
        view.write("summary", **facts_of(deployment), message=deployment.message)
