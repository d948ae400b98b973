"""`manage.py ansible_inventory`: a dynamic inventory, as Ansible calls it."""

import json
from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import OwnCommand
from deploy_manager.inventory.exporting import as_ansible_list, host_variables, servers_to_export


class Command(OwnCommand):
    help = (
        "Answer Ansible's questions to a dynamic inventory. Groups are environments"
        " (shop_production), roles (app), and both (app_in_shop_production)."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        asked = parser.add_mutually_exclusive_group(required=True)
        asked.add_argument("--list", action="store_true", help="all groups and hosts")
        asked.add_argument("--host", metavar="NAME", default="", help="the variables of one host")

    def handle(self, *args: Any, **options: Any) -> None:
        servers = servers_to_export()
        if options["list"]:
            answer = as_ansible_list(servers)
        else:
            # Of a host that is not known there are none: Ansible asks for those of its own, too.
            found = (each for each in servers if each.name == options["host"])
            answer = next(map(host_variables, found), {})
        self.stdout.write(json.dumps(answer, indent=2))
