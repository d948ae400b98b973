"""`approve`, `deny`: what waits for somebody who did not ask for it."""

from argparse import ArgumentParser, Namespace
from typing import Any

from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.commands.deployments import COLUMNS
from deploy_manager.client.commands.finding import find_deployment
from deploy_manager.client.connection import Connection
from deploy_manager.client.exits import Refused
from deploy_manager.client.texts import clean, short
from deploy_manager.client.views import Row, View, show_list

APPROVED = "approved"


def approve(given: Namespace, view: View) -> int:
    """Approve exactly what is shown; without a number, list what waits for approval."""
    connection = connect(given)
    if not given.deployment:
        show_list(view, "approval", _waiting(connection), COLUMNS)
        return 0
    return _decide(connection, given, view, "approve")


def deny(given: Namespace, view: View) -> int:
    """Deny it, which ends it."""
    return _decide(connect(given), given, view, "deny")


def break_glass(given: Namespace, view: View) -> int:
    """Let it run without approval; everybody is told the reason."""
    connection = connect(given)
    number = find_deployment(connection, given.deployment)
    body = {"reason": given.reason}
    return _show(connection.post("deployments", number, "break-glass", body=body), view)


def _decide(connection: Connection, given: Namespace, view: View, decision: str) -> int:
    number = find_deployment(connection, given.deployment)
    waiting: Row = connection.get("deployments", number)
    view.print(_describe(waiting))
    if view.can_ask and not given.yes:
        question = f"{decision.capitalize()} it as shown? [y/N] "
        if view.ask(question).strip().lower() not in ("y", "yes"):
            raise Refused("Not confirmed, so nothing was decided.")
    # If it has changed since, that is refused.
    body = {"reason": given.reason, "shown": waiting.get("shown") or ""}
    return _show(connection.post("deployments", number, decision, body=body), view)


def _show(deployment: dict[str, Any], view: View) -> int:
    view.print(f"#{deployment['number']} {clean(deployment['state'])}")
    if told := clean(deployment.get("message")):
        view.remark(told)
    view.write("summary", deployment=deployment["number"], **_facts(deployment))
    return 0


def _facts(deployment: Row) -> Row:
    """Return what programs are told of the approvals of a deployment, as `manage.py approve`."""
    # Once it has begun, it is no longer asked which of them count.
    waits = deployment.get("state") == "waiting"
    return {
        "environment": deployment.get("environment"),
        "state": deployment.get("state"),
        "needed": deployment.get("approvals_needed"),
        "given": [
            each["by"]
            for each in deployment.get("decisions") or ()
            if each["decision"] == APPROVED and (each["counts"] or not waits)
        ],
        "expires": deployment.get("approve_by"),
        "message": deployment.get("message"),
    }


def _waiting(connection: Connection) -> list[Row]:
    found = connection.get("deployments", state="waiting", limit=100)["deployments"]
    return [each for each in found if each.get("approvals_needed")]


def _describe(deployment: Row) -> str:
    commit = f", commit {short(deployment['commit'])}" if deployment.get("commit") else ""
    lines = [
        f"#{deployment['number']} {deployment['recipe']} on {deployment['environment']}{commit},"
        f" requested by {deployment.get('requested_by')}",
        str(deployment.get("why") or ""),
        str(deployment.get("message") or ""),
    ]
    return clean("\n".join(filter(None, lines)))


def _add_reason(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="reason, shown in the history")
    parser.add_argument("--yes", action="store_true", help="on a terminal: unasked, as shown")


def _add_approve(parser: ArgumentParser) -> None:
    parser.add_argument("deployment", nargs="?", default="", help="its number; default: a list")
    _add_reason(parser)


def _add_deny(parser: ArgumentParser) -> None:
    parser.add_argument("deployment", help="its number")
    _add_reason(parser)


def _add_glass(parser: ArgumentParser) -> None:
    parser.add_argument("deployment", help="its number")
    parser.add_argument("--reason", required=True, help="what everybody is told")


COMMANDS = (
    Command("approve", "approve a deployment; list what waits for it", approve, _add_approve),
    Command("deny", "deny a deployment, which ends it", deny, _add_deny),
    Command("break-glass", "let a deployment run without approval", break_glass, _add_glass),
)
