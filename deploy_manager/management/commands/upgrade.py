"""Upgrade packages on environments, one after the other, and see it through."""

import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.utils import timezone

from deploy_manager import tasks
from deploy_manager.management.asking import refusals, refuse, who_asks
from deploy_manager.management.base import ConsoleCommand
from deploy_manager.management.environments import find_environment
from deploy_manager.management.following import Interrupts
from deploy_manager.management.json_lines import JsonLines
from deploy_manager.management.terminal import Lines
from deploy_manager.management.upgrade_lines import show_upgrade_plan
from deploy_manager.management.upgrade_watching import UpgradeWatcher
from deploy_manager.management.words import shorten
from deploy_manager.models import Environment, OnFailure, UpgradeState
from deploy_manager.requirements import Reach
from deploy_manager.runner import KnownPackages, UpgradePlan, UpgradeWish, plan_upgrade, wishes_for

FAILED = 1
"""Exit code; 0 where every environment came through, where nothing had to be done, or was tried."""

REACHES = {
    "security": (Reach.FIX, "what is known to be vulnerable, to the lowest version that is not"),
    "patch": (Reach.PATCH, "to the newest patch version, like 5.2.7 to 5.2.8"),
    "minor": (Reach.MINOR, "to the newest minor version, like 5.1 to 5.2"),
    "latest": (Reach.LATEST, "to the newest version there is; so without any of these"),
}


class Command(ConsoleCommand):
    help = (
        "Upgrade packages: new environments beside the old ones, a canary, a health check, the"
        " rest, and back by itself where one fails."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "packages", nargs="*", help="like django==5.2.8, or celery; none: all of them"
        )
        parser.add_argument(
            "--environment",
            action="append",
            required=True,
            help="like production, or shop/production; may be repeated: the first goes first",
        )
        parser.add_argument("--project", default="", help="where a name is not enough")
        reaches = parser.add_mutually_exclusive_group()
        for name, (_reach, words) in REACHES.items():
            reaches.add_argument(
                f"--{name}", dest="reach", action="store_const", const=name, help=words
            )
        _add_cares(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        with refusals():
            environments = [
                find_environment(name, options["project"]) for name in options["environment"]
            ]
            wish = _wish(environments, options)
            plan = plan_upgrade(environments, wish) if wish.pins else None
        _tell_what_is_unknown(environments, options, view)
        if plan is None:
            view.say("Nothing to do: nothing is known against what is pinned.")
            return
        show_upgrade_plan(plan, view)
        if plan.problems:
            refuse("\n".join(plan.problems))
        if plan.is_empty or options["dry_run"]:
            return
        _see_through(plan, view, leaves=options["no_wait"])


def _add_cares(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="why; stands in the history")
    parser.add_argument(
        "--soak",
        type=int,
        default=0,
        metavar="SECONDS",
        help="how long the canary, and each environment, must do well before the next",
    )
    parser.add_argument(
        "--cooldown",
        type=int,
        default=0,
        metavar="DAYS",
        help="take no version that is younger; --security does not ask for it",
    )
    parser.add_argument(
        "--stop-on-failure",
        action="store_true",
        help="where one environment fails, leave those before it as they are",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would move")
    parser.add_argument("--no-wait", action="store_true", help="ask for it and go")


def _wish(environments: list[Environment], options: dict[str, Any]) -> UpgradeWish:
    if options["soak"] < 0 or options["cooldown"] < 0:
        refuse("--soak and --cooldown are no less than 0.")
    reach = REACHES[options["reach"]][0] if options["reach"] else None
    pins = wishes_for(options["packages"], reach, environments)
    cooldown = timedelta(days=options["cooldown"])
    return UpgradeWish(
        pins=pins,
        reason=options["reason"],
        soak=options["soak"],
        on_failure=OnFailure.STOP if options["stop_on_failure"] else OnFailure.RETURN,
        before=timezone.now() - cooldown if cooldown else None,
        exempt=frozenset(pin.name for pin in pins if pin.reach is Reach.FIX),
    )


def _tell_what_is_unknown(
    environments: list[Environment], options: dict[str, Any], view: JsonLines | Lines
) -> None:
    """Whoever asks for security is told what nobody could look up."""
    if options["reach"] == "security" and (unknown := KnownPackages(environments).unknown):
        names = shorten([f"{name} {version}" for name, version in sorted(unknown)])
        view.say(f"Unknown, since advisories were not looked up: {names}. Run manage.py audit.")


def _see_through(plan: UpgradePlan, view: JsonLines | Lines, *, leaves: bool) -> None:
    interrupts = Interrupts()
    with interrupts.noted():
        with refusals():
            upgrade = tasks.request_upgrade(plan, door="manage.py", requested_as=who_asks())
        if leaves:
            view.say(f"Upgrade {upgrade}: the admin shows how it goes.")
            return
        ended = UpgradeWatcher(upgrade, view, interrupts).watch()
    if ended.state != UpgradeState.SUCCEEDED:
        sys.exit(FAILED)
