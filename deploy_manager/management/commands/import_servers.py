"""`manage.py import_servers`: servers come from what other tools know of them."""

import sys
from argparse import ArgumentParser
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from deploy_manager.cli.base import ConsoleCommand, add_project
from deploy_manager.cli.exits import FAILED, refusals, refuse
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.inventory.importing import ImportReport, describe, read_bytes, read_roles
from deploy_manager.cli.packages.pins import agrees
from deploy_manager.cli.views.base import View
from deploy_manager.deployments.confirming import confirming_own_edits
from deploy_manager.inventories.formats import FORMATS, read_inventory
from deploy_manager.inventory.changes import REFUSED, Plan, Wanted
from deploy_manager.inventory.comparing import plan_import
from deploy_manager.inventory.writing import write_import

QUESTION = "Write this? [y/N] "


class Command(ConsoleCommand):
    help = (
        "Import servers from an inventory of Ansible, Puppet or Chef, an ssh_config or a CSV file."
        " What would change is shown first. Exit code 1 if entries were refused; the others are"
        " written all the same."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the file, or - for stdin")
        parser.add_argument(
            "--format", choices=FORMATS, default="", help="default: what the file looks like"
        )
        parser.add_argument(
            "--environment", default="", help="place the servers there, like shop/production"
        )
        add_project(parser)
        parser.add_argument(
            "--roles",
            action="append",
            default=[],
            metavar="GROUP=ROLE,ROLE",
            help="roles of servers in a group; the group “all” has all of them; may be repeated",
        )
        parser.add_argument(
            "--change-roles",
            action="store_true",
            help="also of servers that have a place in the environment",
        )
        parser.add_argument(
            "--user", default="", help="whom to log in as on new servers without a user"
        )
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")
        parser.add_argument("--yes", action="store_true", help="write without asking")

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        wanted = _wanted(options)
        with refusals():
            inventory = read_inventory(read_bytes(options["file"]), options["format"])
        plan = plan_import(inventory, wanted)
        if options["dry_run"] or not plan.writes:
            view.show(ImportReport(plan))
            view.remark("Nothing was written.")
        else:
            plan = _write(plan, view, options["yes"])
        if plan.counts[REFUSED]:
            sys.exit(FAILED)


def _wanted(options: dict[str, Any]) -> Wanted:
    """Return what the options say. Raises CommandError (exit code 2)."""
    roles = read_roles(options["roles"])
    if not options["environment"]:
        if roles or options["change_roles"]:
            refuse("Roles are those of an environment: add --environment, like shop/production.")
        return Wanted(user=options["user"])
    environment = find_environment(options["environment"], options["project"])
    return Wanted(environment, roles, options["change_roles"], options["user"])


def _write(plan: Plan, view: View, is_sure: bool) -> Plan:
    """Show what would be written, ask, and write exactly that. Raises CommandError."""
    if is_sure:
        written = _write_confirmed(plan)
        view.show(ImportReport(written, written=True))
        return written
    if not view.can_ask:
        view.show(ImportReport(plan))
        refuse("Nothing was written: nobody can be asked here. Add --yes to write this.")
    view.show(ImportReport(plan))
    if not agrees(QUESTION, view):
        refuse("Nothing was written.")
    written = _write_confirmed(plan)
    view.remark(f"Written: {describe(written)}")
    return written


def _write_confirmed(plan: Plan) -> Plan:
    """Write exactly this plan. Raises CommandError if it would do anything else by now."""
    environment = plan.wanted.environment
    # Who runs this command may do all that automatic deployments do: none is to pause for it.
    confirmed = confirming_own_edits(environment) if environment else nullcontext()
    with refusals(), confirmed:
        return write_import(plan.inventory, plan.wanted, plan.digest)
