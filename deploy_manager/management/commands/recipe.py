"""Run any recipe on an environment, or list what there is."""

from argparse import ArgumentParser
from typing import Any

from rich.table import Table

from deploy_manager.cli.deployments.command import (
    RequestCommand,
    add_code,
    add_release,
    add_servers,
)
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.recipes import all_pipelines


class Command(RequestCommand):
    help = "Run a recipe on an environment and watch it; without a name: list the recipes."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="of the recipe")
        add_code(parser)
        add_servers(parser)
        add_release(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["name"]:
            self.run_recipe(options["name"], options)
        else:
            find_environment(options["environment"], options["project"])
            self._list(options)

    def _list(self, options: dict[str, Any]) -> None:
        console = self.make_console(options)
        if options["json"]:
            lines = JsonLines(console)
            for pipeline in all_pipelines():
                lines.write("recipe", name=pipeline.name, title=pipeline.title)
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        for pipeline in all_pipelines():
            table.add_row(pipeline.name, pipeline.title)
        console.print(table)
