"""`manage.py sudoers`: the file that sudo needs on a server, exactly as it is written there."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.exits import refusals
from deploy_manager.cli.inventory.provisioning import machine_for
from deploy_manager.deployments.request import choose_placements


class Command(EnvironmentCommand):
    help = "Print what sudo has to allow on servers, and nothing where it has to allow nothing."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", nargs="*", metavar="SERVER", help="default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = self.find_environment(options)
        view = self.make_view(options)
        with refusals():
            placements = choose_placements(environment, options["server"])
            machines = [(each.server.name, machine_for(each)) for each in placements]
        texts = list(dict.fromkeys(machine.sudoers for _name, machine in machines))
        if not options["json"]:
            # As it is, to be sent into a file: several servers mostly have the same.
            self.stdout.write("\n".join(filter(None, texts)))
        for name, machine in machines:
            path = machine.sudoers_path if machine.sudoers else ""
            view.write("sudoers", server=name, path=path, text=machine.sudoers)
            if machine.makes_root:
                self.stderr.write(f"{name}: {machine.makes_root}")
        view.write("summary", state="succeeded", servers=len(machines))
