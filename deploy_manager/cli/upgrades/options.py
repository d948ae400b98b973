"""The options of an upgrade, from the arguments of a command line, and the plan they lead to."""

from collections.abc import Sequence

from deploy_manager.cli.exits import refusals, refuse
from deploy_manager.cli.packages.pins import agree_to_take_back
from deploy_manager.cli.text import shorten
from deploy_manager.cli.upgrades.reports import UpgradePlanReport, write_nothing_requested
from deploy_manager.cli.views.base import View
from deploy_manager.messages import Message
from deploy_manager.models import Environment
from deploy_manager.packages.exposure import KnownPackages
from deploy_manager.upgrades.arguments import UpgradeArguments, options_for
from deploy_manager.upgrades.plan import UpgradePlan, plan_upgrade

REACH_HELP = {
    "security": "vulnerable packages only, to the lowest version that is fixed",
    "patch": "to the newest patch version, like 5.2.7 to 5.2.8",
    "minor": "to the newest minor version, like 5.1 to 5.2",
    "latest": "to the newest version of all; the default",
}
HELP = {
    "package": "like django==5.2.8, or celery; default: all packages",
    "reason": "reason, shown in the history",
    "soak": "how long the canary, and each environment, must run well before the next; like 10m",
    "cooldown": "do not install younger versions, unless with --security; like 7d",
    "stop_on_failure": "if one environment fails, leave those before it as they are",
    "dry_run": "only show the packages that would move",
    "take_back": "agree that packages you did not name undo an upgrade or a fix",
}
"""The help texts that manage.py and fab share."""


def plan_for_arguments(
    environments: Sequence[Environment], arguments: UpgradeArguments, view: View
) -> UpgradePlan | None:
    """Show the plan and return it; None if nothing is to be requested.

    Raises CommandError (exit code 2) for arguments without meaning, for a plan without a solution,
    and if it takes something back that nobody agrees to.
    """
    with refusals():
        options = options_for(environments, arguments)
        plan = plan_upgrade(environments, options) if options.pins else None
    if arguments.reach == "security":
        _warn_of_unknown(environments, view)
    if plan is None:
        view.say("Nothing to do: nothing is known against what is pinned.")
        write_nothing_requested(environments, "unchanged", view)
        return None
    view.show(UpgradePlanReport(plan))
    if plan.problems:
        refuse(Message.lines(*plan.problems))
    if arguments.dry_run:
        for reason in filter(None, (stage.not_now for stage in plan.stages)):
            view.say(f"It would have to wait: {reason}")
    if plan.is_empty or arguments.dry_run:
        state = "unchanged" if plan.is_empty else "planned"
        write_nothing_requested(environments, state, view)
        return None
    agree_to_take_back(plan.taken_back, view, agreed=arguments.take_back)
    return plan


def _warn_of_unknown(environments: Sequence[Environment], view: View) -> None:
    """Name the versions without an answer about advisories: "nothing known" is not "safe"."""
    if unknown := KnownPackages(environments).unknown:
        names = shorten([f"{name} {version}" for name, version in sorted(unknown)])
        view.say(f"Unknown, since advisories were not looked up: {names}. Run manage.py audit.")
