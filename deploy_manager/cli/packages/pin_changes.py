"""Pins that change and overrides, as a terminal and programs are told; and who agrees to less."""

import sys
from collections.abc import Mapping
from typing import Any

from deploy_manager.cli.asking import refuse
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.text import clean
from deploy_manager.deployments.plan import Plan
from deploy_manager.packages.downgrades import ChangedPin
from deploy_manager.packages.overrides import StandingOverride

HELP_TO_TAKE_BACK = "agree that what an upgrade or a fix brought is taken back"
SECURITY = "bold red"
FLAG = "--take-back"


def agree_to_take_back(plan: Plan, view: JsonLines | Lines, *, arguments: bool) -> None:
    """Return where nothing is taken back, or somebody agrees: by the flag, or when asked.

    Raises CommandError (exit code 2) where nobody does.
    """
    if arguments or not plan.to_confirm:
        return
    told = clean("; ".join(map(str, plan.to_confirm)))
    if not agrees(f"Take back {told}? [y/N] ", view):
        refuse(
            f"This would take back what an upgrade or a fix brought: {told}. Say {FLAG} to agree,"
            " or pin no less in the repository."
        )


def agrees(question: str, view: JsonLines | Lines) -> bool:
    """Ask a person on a terminal; anybody else does not agree."""
    if isinstance(view, JsonLines) or not sys.stdin.isatty():
        return False
    try:
        return view.ask(question).strip().lower() in ("y", "yes")
    except (KeyboardInterrupt, EOFError):
        return False


def describe_pin(pin: ChangedPin) -> str:
    """Return a line like `shopkit 1.0.2 → 1.0, goes back: GHSA-… comes back`."""
    if not pin.before or not pin.after:
        words = "added" if pin.after else "removed"
    else:
        words = "goes back" if pin.goes_back else ""
    told = [f"{pin.name} {pin.before or '-'} → {pin.after or '-'}", words]
    if pin.undoes:
        told.append(f"an upgrade brought {pin.undoes}")
    if pin.advisories:
        told.append(f"vulnerable: {', '.join(pin.advisories)}")
    return clean(", ".join(filter(None, told)))


def describe_override(each: StandingOverride) -> str:
    """Return a line that tells what is held, whether it holds on, and why it was moved."""
    return clean(f"{each.name} {each.version or '-'} {each.told} ({each.why})")


def pin_as_json(pin: ChangedPin) -> dict[str, Any]:
    """Return a changed pin as programs read it."""
    return {
        "name": pin.name,
        "before": pin.before,
        "after": pin.after,
        "goes_back": pin.goes_back,
        "taken_back": pin.is_taken_back,
        "advisories": list(pin.advisories),
        "undoes": pin.undoes,
    }


def override_as_json(each: StandingOverride) -> Mapping[str, Any]:
    """Return an override as programs read it."""
    row = each.rows[0]
    return {
        "name": each.name,
        "version": each.version,
        "repository": each.repository,
        "standing": each.standing.value,
        "holds": each.holds,
        "told": each.told,
        "why": row.why,
        "fixes": row.fixes,
        "since": row.since.isoformat(),
        "upgrade": row.upgrade_id,
    }
