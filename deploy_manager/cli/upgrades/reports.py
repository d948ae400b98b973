"""The reports of upgrades: the plan, the state of each environment, the outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from deploy_manager.cli.packages.pins import SECURITY, describe_undone
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.models import Environment, Upgrade, UpgradeStage, UpgradeState
from deploy_manager.upgrades.plan import UpgradePlan

SYMBOLS = {
    UpgradeState.WAITING: ("…", "dim"),
    UpgradeState.RUNNING: ("▸", "cyan"),
    UpgradeState.RETURNING: ("↶", "yellow"),
    UpgradeState.SUCCEEDED: ("✓", "green"),
    UpgradeState.FAILED: ("✗", "bold red"),
    UpgradeState.ROLLED_BACK: ("↶", "bold yellow"),
    UpgradeState.SKIPPED: ("○", "dim"),
    UpgradeState.CANCELLED: ("■", "yellow"),
}


@dataclass(frozen=True)
class UpgradePlanReport(Report):
    """The pins that would move, environment by environment."""

    plan: UpgradePlan

    def print_on(self, view: View) -> None:
        for stage in self.plan.stages:
            servers = stage.environment.placements.count()
            title = f"{stage.environment}: {len(stage.moves)} to move on {servers} servers"
            view.print(Text(title, "bold"))
            table = make_table("package", "now", "to come", "why", "uploaded", "")
            for move in stage.moves:
                table.add_row(
                    f"  {move['name']}",
                    move["before"] or "-",
                    move["after"] or "-",
                    clean(move["why"]),
                    move["uploaded"][:10] or "unknown",
                    Text(clean(describe_facts(move)), "yellow"),
                )
            view.print_table(table)
            if stage.bad:
                view.print(Text(f"  {clean(str(stage.bad))}", SECURITY))
        self._say_unmoved(view)

    def write_on(self, view: View) -> None:
        for stage in self.plan.stages:
            view.write(
                "plan",
                environment=str(stage.environment),
                moves=list(stage.moves),
                bad=stage.bad,
                not_now=stage.not_now,
            )
        self._say_unmoved(view)

    def _say_unmoved(self, view: View) -> None:
        for environment in self.plan.unmoved:
            view.say(f"{environment}: nothing to do.")


def describe_facts(move: dict[str, Any]) -> str:
    """Return the facts to know about a version before it is installed."""
    facts = []
    if move["goes_back"]:
        facts.append("goes back")
    if move["undoes"]:
        facts.append(describe_undone(move["undoes"]))
    if move["advisories"]:
        facts.append(f"vulnerable: {', '.join(move['advisories'])}")
    if move["fixes"]:
        facts.append(f"fixes {', '.join(move['fixes'])}")
    if move["yanked"]:
        facts.append(f"yanked: {move['yanked']}")
    if move["status"] not in ("", "active"):
        facts.append(move["status"])
    if move["unknown"]:
        facts.append("the index has no facts about it")
    return "; ".join(facts)


def show_upgrade_request(upgrade: Upgrade, view: View) -> None:
    """Show programs the number and the state of a request; people see both with the outcome."""
    upgrade.refresh_from_db()
    view.write("requested", upgrade=upgrade.pk, state=upgrade.state, message=upgrade.message)


def show_stage(stage: UpgradeStage, view: View) -> None:
    """Show the state of one environment of an upgrade."""
    view.write(
        "stage",
        environment=str(stage.environment),
        state=stage.state,
        message=stage.message,
        deployment=stage.deployment_id,
    )
    state = UpgradeState(stage.state)
    view.print(Text.assemble(SYMBOLS[state], f" {stage.environment}: ", str(state.label)))
    if stage.message:
        view.print(Text(clean(str(stage.message))))


def write_nothing_requested(environments: Sequence[Environment], state: str, view: View) -> None:
    """Write the summary of a command that requested no upgrade: `unchanged`, or `planned` only."""
    states = {str(environment): state for environment in environments}
    view.write("summary", upgrade=None, state=state, message="", environments=states)


@dataclass(frozen=True)
class OutcomeReport(Report):
    """How an upgrade ended, or its state when the watcher left."""

    upgrade: Upgrade

    def print_on(self, view: View) -> None:
        state = UpgradeState(self.upgrade.state)
        symbol = SYMBOLS[state]
        view.print(
            Text.assemble(symbol, f" upgrade {self.upgrade}: ", (str(state.label), symbol[1]))
        )

    def write_on(self, view: View) -> None:
        stages = self.upgrade.stages.select_related("environment__project")
        view.write(
            "summary",
            upgrade=self.upgrade.pk,
            state=self.upgrade.state,
            message=self.upgrade.message,
            environments={str(stage.environment): stage.state for stage in stages},
        )
