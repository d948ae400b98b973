"""`manage.py deploy` and `manage.py recipe`: say what would run, ask for it, watch it."""

import sys
from argparse import ArgumentParser
from typing import IO, Any, cast

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.text import Text

from deploy_manager import tasks
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.management.asking import check_plan, make_console, refuse, who_asks
from deploy_manager.management.environments import find_environment
from deploy_manager.management.following import Follower, Interrupts, interruptible
from deploy_manager.management.json_lines import JsonLines
from deploy_manager.management.short_plan import describe
from deploy_manager.management.terminal import Lines, make_view
from deploy_manager.models import Deployment, State
from deploy_manager.runner import Plan

FAILED = 1
"""Exit code; 0 only where every server succeeded, or where nobody was to wait."""

QUESTION = "Leave it running (l), cancel it (c) or watch on (w)? [w] "


class DoorCommand(BaseCommand):
    """Runs one recipe on one environment through the normal door."""

    requires_system_checks = ()
    """`manage.py check` asks the broker, too: here the request itself tells."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("environment", help="like production, or shop/production")
        self.add_own_arguments(parser)
        parser.add_argument(
            "--project", default="", help="where the environment's name is not enough"
        )
        parser.add_argument("--ref", default="", help="branch, tag or commit, for this time only")
        parser.add_argument(
            "--server", action="append", default=[], help="only this one; may be repeated"
        )
        parser.add_argument("--reason", default="", help="why; stands in the history")
        parser.add_argument("--no-wait", action="store_true", help="ask for it and go")
        parser.add_argument("--json", action="store_true", help="JSON lines, the last a summary")

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        """Add what only this command takes."""

    def run_recipe(self, recipe: str, options: dict[str, Any]) -> None:
        """See it through. Raises CommandError where it is refused, SystemExit where it failed."""
        view = self._make_view(options)
        try:
            environment = find_environment(options["environment"], options["project"])
            plan = check_plan(environment, recipe, options["ref"], options["server"])
            _show_plan(plan, view)
        except KeyboardInterrupt:
            refuse("Stopped before anything was asked for.")
        interrupts = Interrupts()
        with interrupts.noted():
            deployment = self._request(plan, options)
            _show_request(deployment, view)
            if not options["no_wait"]:
                _watch(deployment, view, interrupts)
            elif isinstance(view, Lines):
                view.say(f"In the admin, under Deployments, #{deployment.pk} shows how it goes.")

    def make_console(self, options: dict[str, Any]) -> Console:
        """Return a console on the command's stdout, which adds no line's end of its own."""
        self.stdout.ending = ""
        return make_console(
            cast(IO[str], self.stdout),
            no_color=options["no_color"],
            force_color=options["force_color"],
        )

    def _make_view(self, options: dict[str, Any]) -> JsonLines | Lines:
        console = self.make_console(options)
        return JsonLines(console) if options["json"] else make_view(console)

    def _request(self, plan: Plan, options: dict[str, Any]) -> Deployment:
        try:
            return tasks.request(
                plan.environment,
                plan.story.name,
                door="manage.py",
                requested_as=who_asks(),
                ref=options["ref"],
                commit=plan.commit.hash if plan.commit else "",
                servers=options["server"],
                reason=options["reason"],
            )
        except DeployManagerError as error:
            refuse(str(error))


def _show_plan(plan: Plan, view: JsonLines | Lines) -> None:
    if isinstance(view, Lines):
        view.tell(describe(plan))
        return
    view.write(
        "plan",
        environment=str(plan.environment),
        recipe=plan.story.name,
        ref=plan.ref,
        commit_now=plan.commit_now,
        commit=plan.commit.hash if plan.commit else "",
        servers=[server.placement.server.name for server in plan.servers],
    )


def _show_request(deployment: Deployment, view: JsonLines | Lines) -> None:
    deployment.refresh_from_db()
    if isinstance(view, JsonLines):
        view.write("requested", deployment=deployment.pk, state=deployment.state)
    else:
        view.tell(Text(f"#{deployment.pk} {deployment.get_state_display()}"))
        if deployment.message:
            view.say(deployment.message)


def _watch(deployment: Deployment, view: JsonLines | Lines, interrupts: Interrupts) -> None:
    follower = Follower(deployment.pk, view, lambda now: _stay(now, view), interrupts)
    if follower.follow().state != State.SUCCEEDED:
        sys.exit(FAILED)


def _stay(deployment: Deployment, view: JsonLines | Lines) -> bool:
    """After Ctrl-C: ask whether to watch on, leave or cancel. Where nobody can answer: leave."""
    answer = _answer(view)
    if answer == "c":
        deployment.request_cancel(who_asks())
        view.say("Cancelling: what runs is being stopped.")
    elif answer == "l":
        view.say(f"#{deployment.pk} goes on without you; the admin shows how it ends.")
        return False
    return True


def _answer(view: JsonLines | Lines) -> str:
    """Return c, l, or w."""
    if isinstance(view, JsonLines) or not sys.stdin.isatty():
        return "l"
    try:
        with interruptible():
            return view.ask(QUESTION).strip().lower()[:1]
    except (KeyboardInterrupt, EOFError):
        return "l"
