"""`manage.py export_servers`: servers go to other tools."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from deploy_manager.cli.base import OwnCommand, add_project
from deploy_manager.cli.exits import refuse
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.inventory.exporting import EXPORTS, export, servers_to_export


class Command(OwnCommand):
    help = (
        "Write the servers as JSON, CSV, ssh_config or an inventory of Ansible: no secrets, no"
        " variables of a site."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--environment", default="", help="only its servers and gateways, like shop/production"
        )
        add_project(parser)
        parser.add_argument(
            "--format", choices=EXPORTS, default="json", help="default: %(default)s"
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="default: stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        name, project = options["environment"], options["project"]
        environment = find_environment(name, project) if name else None
        text = export(servers_to_export(environment), options["format"])
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            options["output"].write_text(text, encoding="utf-8")
        except OSError as error:
            refuse(f"{options['output']} can't be written: {error.strerror}")
