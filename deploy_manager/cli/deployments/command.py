"""`manage.py deploy` and its like: say what would run, ask for it, watch it."""

import sys
from argparse import ArgumentParser
from typing import Any

from deploy_manager import dispatch
from deploy_manager.cli.asking import check_plan, refusals, who_asks
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.dry_run import rehearse
from deploy_manager.cli.deployments.following import Interrupts
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.options import Arguments, as_planned, options_for
from deploy_manager.cli.deployments.plan import describe
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.deployments.watching import show_how_to_retry, show_request, watch
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.packages.pin_changes import (
    HELP_TO_TAKE_BACK,
    agree_to_take_back,
    override_as_json,
    pin_as_json,
)
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.models import Deployment, Environment, State

FAILED = 1
"""Exit code; 0 only where every server succeeded, or where nobody was to wait."""


class RequestCommand(EnvironmentCommand):
    """Runs one recipe on an environment through the normal source."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", default="", help="why; stands in the history")
        parser.add_argument(
            "--wait",
            action="store_true",
            help="where it may not run just now, wait until it may, instead of a refusal",
        )
        parser.add_argument(
            "--at",
            default="",
            metavar="'2026-11-24 02:00'",
            help="not before this, by the environment's own clock unless it has an offset",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="show each command; touch no server"
        )
        parser.add_argument("--no-wait", action="store_true", help="ask for it and go")
        parser.add_argument("--take-back", action="store_true", help=HELP_TO_TAKE_BACK)

    def run_recipe(self, recipe: str, options: dict[str, Any]) -> None:
        """See it through. Raises CommandError where it is refused, SystemExit where it failed."""
        with refusals():
            environment = find_environment(options["environment"], options["project"])
            wanted = options_for(environment, recipe, arguments(options))
        self.see_through(environment, recipe, wanted, options)

    def see_through(
        self,
        environment: Environment,
        recipe: str,
        wanted: DeploymentOptions,
        options: dict[str, Any],
    ) -> None:
        """Plan, ask for and follow what is wished for; or only show it."""
        view = self.make_view(options)
        plan = check_plan(environment, recipe, wanted)
        _show_plan(plan, wanted, view)
        if options["dry_run"]:
            rehearse(environment, recipe, as_planned(plan, wanted), view)
        else:
            agree_to_take_back(plan, view, arguments=options["take_back"])
            _ask_and_watch(plan, wanted, view, options["no_wait"])


def add_code(parser: ArgumentParser) -> None:
    """Add the option that names what is to be sent."""
    parser.add_argument("--ref", default="", help="branch, tag or commit, for this time only")


def add_servers(parser: ArgumentParser) -> None:
    """Add the option that names servers."""
    parser.add_argument(
        "--server", action="append", default=[], help="only this one; may be repeated"
    )


def add_release(parser: ArgumentParser) -> None:
    """Add the options of what goes back to a release that is there."""
    parser.add_argument(
        "--to",
        default="",
        metavar="ID",
        help="a release's name, or the beginning of its commit; default: the good one before",
    )
    parser.add_argument(
        "--force-migration",
        action="append",
        default=[],
        metavar="app.0001_name",
        help="leave this one as it is, though it can't be reversed; may be repeated",
    )


def arguments(options: dict[str, Any]) -> Arguments:
    """Return the words of a command line, as far as the command takes them."""
    return Arguments(
        ref=options.get("ref", ""),
        servers=options.get("server", ()),
        reason=options["reason"],
        to=options.get("to", ""),
        forced_migrations=options.get("force_migration", ()),
        waits=options["wait"],
        at=options["at"],
    )


def _show_plan(plan: Plan, wanted: DeploymentOptions, view: JsonLines | Lines) -> None:
    if isinstance(view, Lines):
        view.tell(describe(plan, wanted))
        return
    view.write(
        "plan",
        environment=str(plan.environment),
        recipe=plan.pipeline.name,
        ref=plan.ref,
        commit_now=plan.commit_now,
        commit=plan.commit.hash if plan.commit else "",
        bad=plan.bad,
        release=wanted.release.name if wanted.release else "",
        servers=[server.placement.server.name for server in plan.servers],
        waves=[server.wave for server in plan.servers],
        pins=[pin_as_json(pin) for pin in plan.pins],
        overrides=[override_as_json(each) for each in plan.overrides],
    )


def _ask_and_watch(
    plan: Plan, wanted: DeploymentOptions, view: JsonLines | Lines, leaves: bool
) -> None:
    interrupts = Interrupts()
    with interrupts.noted():
        deployment = _request(plan, as_planned(plan, wanted))
        show_request(deployment, view)
        if not leaves:
            ended = watch(deployment, view, interrupts)
            show_how_to_retry(ended, f"manage.py retry {ended.pk}", view)
            if ended.state != State.SUCCEEDED:
                sys.exit(FAILED)
        elif isinstance(view, Lines):
            view.say(f"In the admin, under Deployments, #{deployment.pk} shows how it goes.")


def _request(plan: Plan, wanted: DeploymentOptions) -> Deployment:
    with refusals():
        return dispatch.request(
            plan.environment,
            plan.pipeline.name,
            source="manage.py",
            requested_by_name=who_asks(),
            options=wanted,
        )
