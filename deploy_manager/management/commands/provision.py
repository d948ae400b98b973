"""`manage.py provision`: bring servers that were added all the way to serving."""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.provisioning import STEPS, Addition
from deploy_manager.cli.exits import refusals, refuse
from deploy_manager.cli.inventory.provisioning import NeedsReport, pin_host_keys
from deploy_manager.deployments.confirming import confirming_own_edits
from deploy_manager.deployments.provisioning import refuse_to_provision
from deploy_manager.deployments.request import choose_placements
from deploy_manager.models import Environment, Placement, Server


class Command(EnvironmentCommand):
    help = (
        "Bring servers of an environment from bare machines to serving: show what they lack, ask,"
        " install it, check them, and send what the other servers serve."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", nargs="+", metavar="SERVER")
        parser.add_argument(
            "--bootstrap-user",
            default="",
            metavar="root",
            help="enter this user for servers that have none: root, or an account with sudo",
        )
        parser.add_argument(
            "--add", default="", metavar="ADDRESS", help="add the one server named, at this address"
        )
        parser.add_argument("--port", type=int, default=22, help="for --add")
        parser.add_argument(
            "--user",
            default="",
            help="for --add: the account that deploys; default: that of its other servers",
        )
        parser.add_argument("--roles", default="app", help="for --add: like app,worker")
        parser.add_argument("--yes", action="store_true", help="agree to what the preview shows")
        parser.add_argument(
            "--no-converge", action="store_true", help="send nothing once they are ready"
        )
        parser.add_argument(
            "--print", action="store_true", help="only print what the servers have to have"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment = self.find_environment(options)
        view, names = self.make_view(options), options["server"]
        if options["add"]:
            add_server(environment, names, options)
        with refusals():
            placements = choose_placements(environment, names)
            if options["print"]:
                view.show(NeedsReport(placements))
                return
            if options["bootstrap_user"]:
                enter_bootstrap_user(placements, options["bootstrap_user"])
            refuse_to_provision(placements)
            pin_host_keys([each.server for each in placements], view)
        addition = Addition(
            environment, names, view, options["yes"], converges=not options["no_converge"]
        )
        for step in STEPS:
            step(addition)
        view.write("summary", state="succeeded", servers=len(names))


def enter_bootstrap_user(placements: Sequence[Placement], user: str) -> None:
    """Enter the user for the servers that have none. Raises CommandError."""
    for server in (placement.server for placement in placements):
        if server.bootstrap_user or server.is_local:
            continue
        server.bootstrap_user = user
        try:
            server.clean_fields()
        except ValidationError as error:
            refuse("\n".join(error.messages))
        server.save(update_fields=["bootstrap_user"])


def add_server(environment: Environment, names: Sequence[str], options: dict[str, Any]) -> None:
    """Write a server and its placement. Raises CommandError; then nothing was written."""
    if len(names) != 1:
        refuse("--add adds one server: name it alone.")
    if environment.placements.filter(server__name=names[0]).exists():
        refuse(f"{environment} has a server {names[0]} already: leave out --add.")
    if Server.objects.filter(name=names[0]).exists():
        refuse(
            f"There is a server {names[0]} already, which {environment} does not have yet:"
            " add it to the environment in the admin, then leave out --add."
        )
    other = environment.placements.exclude(server__user="").select_related("server").first()
    user = options["user"] or (other.server.user if other else "")
    if not user:
        refuse("Name the account that deploys: --user deploy")
    server = Server(
        name=names[0],
        address=options["add"],
        port=options["port"],
        user=user,
        bootstrap_user=options["bootstrap_user"],
    )
    roles = [role for role in options["roles"].split(",") if role]
    placement = Placement(environment=environment, server=server, roles=roles)
    placement.order = environment.placements.count() + 1
    try:
        server.full_clean()
        placement.clean_fields(exclude=["server"])
    except ValidationError as error:
        refuse("\n".join(error.messages))
    # Who runs this command may do all that automatic deployments do: none is to pause for it.
    with transaction.atomic(), confirming_own_edits(environment):
        server.save()
        placement.server = server
        placement.save()
