"""The plan that the arguments of a command line lead to."""

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
