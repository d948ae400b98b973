"""`manage.py recipe`: run any recipe on an environment, or list the recipes."""

from argparse import ArgumentParser
from typing import Any

from rich.table import Table

from deploy_manager.cli.deployments.command import RequestCommand, add_ref, add_release, add_servers
from deploy_manager.recipes import all_pipelines


class Command(RequestCommand):
    help = "Run a recipe on an environment and watch it; without a name: list the recipes."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="of the recipe")
        add_ref(parser)
        add_servers(parser)
        add_release(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["name"]:
            self.run_recipe(options["name"], options)
            return
        self.find_environment(options)
        view = self.make_view(options)
        table = Table(box=None, show_header=False, pad_edge=False)
        pipelines = list(all_pipelines())
        for pipeline in pipelines:
            view.write("recipe", name=pipeline.name, title=pipeline.title)
            table.add_row(pipeline.name, pipeline.title)
        view.print_table(table)
        view.write("summary", recipes=len(pipelines))
