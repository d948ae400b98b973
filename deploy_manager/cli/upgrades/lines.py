"""An upgrade on a terminal or as JSON lines: what would move, and how each environment fares."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.text import clean
from deploy_manager.models import Environment, Upgrade, UpgradeStage, UpgradeState
from deploy_manager.upgrades.plan import PlannedStage, UpgradePlan

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
TITLES = ("package", "now", "to come", "why", "uploaded", "")


def show_upgrade_plan(plan: UpgradePlan, view: JsonLines | Lines) -> None:
    """Show the pins that would move, environment by environment, and where nothing would."""
    for stage in plan.stages:
        _show_stage(stage, view)
    for environment in plan.unmoved:
        view.say(f"{environment}: nothing to do.")


def _show_stage(stage: PlannedStage, view: JsonLines | Lines) -> None:
    if isinstance(view, JsonLines):
        view.write("plan", environment=str(stage.environment), moves=list(stage.moves))
        return
    servers = stage.environment.placements.count()
    view.tell(Text(f"{stage.environment}: {len(stage.moves)} to move on {servers} servers", "bold"))
    view.list(_table(stage))


def _table(stage: PlannedStage) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for move in stage.moves:
        table.add_row(
            f"  {move['name']}",
            move["before"] or "-",
            move["after"] or "-",
            clean(move["why"]),
            move["uploaded"][:10] or "unknown",
            Text(clean(describe_facts(move)), "yellow"),
        )
    return table


def describe_facts(move: dict[str, Any]) -> str:
    """Return what somebody should know of a version before it is installed."""
    words = []
    if move["fixes"]:
        words.append(f"fixes {', '.join(move['fixes'])}")
    if move["yanked"]:
        words.append(f"yanked: {move['yanked']}")
    if move["status"] not in ("", "active"):
        words.append(move["status"])
    if move["unknown"]:
        words.append("the index tells nothing of it")
    return "; ".join(words)


def show_stage(stage: UpgradeStage, view: JsonLines | Lines) -> None:
    """Show how an environment of an upgrade stands."""
    if isinstance(view, JsonLines):
        view.write(
            "stage",
            environment=str(stage.environment),
            state=stage.state,
            message=stage.message,
            deployment=stage.deployment_id,
        )
        return
    state = UpgradeState(stage.state)
    view.tell(Text.assemble(SYMBOLS[state], f" {stage.environment}: ", str(state.label)))
    if stage.message:
        view.tell(Text(clean(stage.message)))


def show_request(upgrade: Upgrade, view: JsonLines | Lines) -> None:
    """Show the number of what was asked for, to programs: people read it at the end."""
    if isinstance(view, JsonLines):
        view.write("requested", upgrade=upgrade.pk, state=upgrade.state)


def show_nothing_done(
    environments: Sequence[Environment], state: str, view: JsonLines | Lines
) -> None:
    """Show programs that no upgrade was asked for: nothing was to be done, or it was planned."""
    if isinstance(view, JsonLines):
        named = {str(environment): state for environment in environments}
        view.write("summary", upgrade=None, state=state, message="", environments=named)


def show_end(upgrade: Upgrade, view: JsonLines | Lines) -> None:
    """Show how an upgrade ended, or where it stands."""
    if isinstance(view, JsonLines):
        stages = upgrade.stages.select_related("environment__project")
        view.write(
            "summary",
            upgrade=upgrade.pk,
            state=upgrade.state,
            message=upgrade.message,
            environments={str(stage.environment): stage.state for stage in stages},
        )
        return
    state = UpgradeState(upgrade.state)
    line = Text.assemble(
        SYMBOLS[state], f" upgrade {upgrade}: ", (str(state.label), SYMBOLS[state][1])
    )
    view.tell(line)
