"""RequestCommand: the base of `manage.py deploy` and its like, which plan, request and watch."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.options import HELP
from deploy_manager.cli.deployments.plan import (
    PlanReport,
    agree_to_part,
    agree_to_run,
)
from deploy_manager.cli.deployments.watching import request_and_watch
from deploy_manager.cli.exits import refusals
from deploy_manager.cli.packages.pins import agree_to_take_back
from deploy_manager.deployments.arguments import Arguments, options_for
from deploy_manager.deployments.checking import as_planned, check_plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.models import Environment


class RequestCommand(EnvironmentCommand):
    """Runs one recipe on an environment, by the same request as every other source."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", default="", help=HELP["reason"])
        parser.add_argument(
            "--wait",
            action="store_true",
            help="if it may not run now, wait until it may, instead of being refused",
        )
        parser.add_argument(
            "--at",
            default="",
            metavar="'2026-11-24 02:00'",
            help="do not start earlier; in the environment's time zone unless it has an offset",
        )
        parser.add_argument("--dry-run", action="store_true", help=HELP["dry_run"])
        parser.add_argument("--no-wait", action="store_true", help="request it and do not watch")
        parser.add_argument("--take-back", action="store_true", help=HELP["take_back"])
        parser.add_argument(
            "--yes",
            action="store_true",
            help="on a terminal: run what is shown, unasked",
        )
        parser.add_argument("--break-glass", action="store_true", help=HELP["break_glass"])
        parser.add_argument("--leave-others", action="store_true", help=HELP["leave_others"])

    def run_recipe(self, recipe: str, options: dict[str, Any]) -> None:
        """Plan, request and watch a recipe.

        Raises CommandError if it is refused, SystemExit if it does not succeed.
        """
        with refusals():
            environment = self.find_environment(options)
            deployment_options = options_for(environment, recipe, read_arguments(options))
        self.plan_and_run(environment, recipe, deployment_options, options)

    def plan_and_run(
        self,
        environment: Environment,
        recipe: str,
        deployment_options: DeploymentOptions,
        options: dict[str, Any],
    ) -> None:
        """Show the plan, then request and watch it, or show its commands with --dry-run."""
        view = self.make_view(options)
        with refusals():
            plan = check_plan(environment, recipe, deployment_options)
        view.show(PlanReport(plan, deployment_options))
        if options["dry_run"]:
            from deploy_manager.cli.deployments.dry_run import show_dry_run

            show_dry_run(environment, recipe, as_planned(plan, deployment_options), view)
            return
        agree_to_take_back(plan.to_confirm, view, agreed=options["take_back"])
        agree_to_part(plan, deployment_options, view, agreed=options["leave_others"])
        agree_to_run(plan, view, agreed=options["yes"])
        request_and_watch(
            environment,
            plan.pipeline.name,
            as_planned(plan, deployment_options),
            view,
            watches=not options["no_wait"],
        )


def add_ref(parser: ArgumentParser) -> None:
    parser.add_argument("--ref", default="", help=HELP["ref"])


def add_servers(parser: ArgumentParser) -> None:
    parser.add_argument("--server", action="append", default=[], help=HELP["server"])


def add_release(parser: ArgumentParser) -> None:
    parser.add_argument("--to", default="", metavar="ID", help=HELP["to"])
    parser.add_argument(
        "--force-migration",
        action="append",
        default=[],
        metavar="app.0001_name",
        help=HELP["force_migration"],
    )


def read_arguments(options: dict[str, Any]) -> Arguments:
    """Return the arguments of a command line, as far as the command has them."""
    return Arguments(
        ref=options.get("ref", ""),
        servers=options.get("server", ()),
        reason=options["reason"],
        to=options.get("to", ""),
        forced_migrations=options.get("force_migration", ()),
        words=options.get("words", ()),
        breaks_glass=options.get("break_glass", False),
        promotes="source" in options,
        source=options.get("source", ""),
        waits=options["wait"],
        at=options["at"],
    )
