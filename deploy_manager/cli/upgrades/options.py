"""What the words of a command line ask an upgrade to do, and the plan that is shown for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from deploy_manager.cli.asking import refusals, refuse
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.text import shorten
from deploy_manager.cli.upgrades.lines import show_nothing_done, show_upgrade_plan
from deploy_manager.models import Environment, OnFailure
from deploy_manager.packages.exposure import KnownPackages
from deploy_manager.requirements.reach import Reach
from deploy_manager.upgrades.plan import UpgradeOptions, UpgradePlan, plan_upgrade
from deploy_manager.upgrades.words import pin_requests_for

REACHES = {
    "security": (Reach.FIX, "what is known to be vulnerable, to the lowest version that is not"),
    "patch": (Reach.PATCH, "to the newest patch version, like 5.2.7 to 5.2.8"),
    "minor": (Reach.MINOR, "to the newest minor version, like 5.1 to 5.2"),
    "latest": (Reach.LATEST, "to the newest version there is; so without any of these"),
}
HELP = {
    "reason": "why; stands in the history",
    "soak": "how long the canary, and each environment, must do well before the next",
    "cooldown": "take no version that is younger; --security does not ask for it",
    "stop_on_failure": "where one environment fails, leave those before it as they are",
    "dry_run": "only show what would move",
}


@dataclass(frozen=True)
class UpgradeArguments:
    """What somebody typed of an upgrade."""

    packages: Sequence[str] = ()
    """Like django==5.2.8, or celery; none: all of them."""

    reach: str = ""
    """A name of REACHES; blank: as far as the packages say, or to the latest."""

    reason: str = ""
    soak: int = 0
    """Seconds."""

    cooldown: int = 0
    """Days."""

    stops: bool = False
    """Whether environments before one that fails stay as they are."""

    only_shows: bool = False


def plan_for_arguments(
    environments: Sequence[Environment], arguments: UpgradeArguments, view: JsonLines | Lines
) -> UpgradePlan | None:
    """Show the plan and return it; None where nothing is to be asked for.

    Raises CommandError (exit code 2) for what is no request, or has no solution.
    """
    with refusals():
        wanted = _wanted(environments, arguments)
        plan = plan_upgrade(environments, wanted) if wanted.pins else None
    if arguments.reach == "security":
        _tell_what_is_unknown(environments, view)
    if plan is None:
        view.say("Nothing to do: nothing is known against what is pinned.")
        show_nothing_done(environments, "unchanged", view)
        return None
    show_upgrade_plan(plan, view)
    if plan.problems:
        refuse("\n".join(plan.problems))
    if plan.is_empty or arguments.only_shows:
        show_nothing_done(environments, "unchanged" if plan.is_empty else "planned", view)
        return None
    return plan


def _wanted(environments: Sequence[Environment], arguments: UpgradeArguments) -> UpgradeOptions:
    if arguments.soak < 0 or arguments.cooldown < 0:
        refuse("--soak and --cooldown are no less than 0.")
    pins = pin_requests_for(
        arguments.packages, REACHES[arguments.reach][0] if arguments.reach else None, environments
    )
    cooldown = timedelta(days=arguments.cooldown)
    return UpgradeOptions(
        pins=pins,
        reason=arguments.reason,
        soak=arguments.soak,
        on_failure=OnFailure.STOP if arguments.stops else OnFailure.RETURN,
        before=timezone.now() - cooldown if cooldown else None,
        exempt=frozenset(pin.name for pin in pins if pin.reach is Reach.FIX),
    )


def _tell_what_is_unknown(environments: Sequence[Environment], view: JsonLines | Lines) -> None:
    """Whoever asks for security is told what nobody could look up."""
    if unknown := KnownPackages(environments).unknown:
        names = shorten([f"{name} {version}" for name, version in sorted(unknown)])
        view.say(f"Unknown, since advisories were not looked up: {names}. Run manage.py audit.")
