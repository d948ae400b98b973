"""`deployments`, `watch`, `logs`, `cancel`, `notes`: what was requested."""

from argparse import ArgumentParser, Namespace
from typing import Any

from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.commands.finding import (
    find_deployment,
    find_environment,
    find_live_deployment,
)
from deploy_manager.client.commands.following import (
    add_watching,
    follow,
    show_request,
    write_summary,
)
from deploy_manager.client.connection import Connection
from deploy_manager.client.terminal import words_of
from deploy_manager.client.texts import clean_line, short
from deploy_manager.client.views import View, show_list
from deploy_manager.client.watching import FROM_THE_START, Interrupts

COLUMNS = {
    "number": lambda row: f"#{row['number']}",
    "environment": lambda row: row["environment"],
    "recipe": lambda row: row["recipe"],
    "state": lambda row: words_of(str(row["state"])),
    "commit": lambda row: short(row.get("commit")),
    "requested by": lambda row: row.get("requested_by"),
    "reason": lambda row: row.get("why"),
}


def list_deployments(given: Namespace, view: View) -> int:
    connection = connect(given)
    name = find_environment(connection, given.environment) if given.environment else ""
    found = connection.get("deployments", environment=name, state=given.state, limit=given.limit)
    show_list(view, "deployment", found["deployments"], COLUMNS)
    return 0


def watch(given: Namespace, view: View) -> int:
    """Show a deployment from its beginning to its end."""
    connection = connect(given)
    number = find_deployment(connection, given.deployment)
    interrupts = Interrupts()
    with interrupts.noted():
        return follow(connection, view, number, interrupts)


def logs(given: Namespace, view: View) -> int:
    """Print what a deployment has written so far."""
    connection = connect(given)
    number = find_deployment(connection, given.deployment)
    text = connection.get_text("deployments", number, "log", server=given.server)
    for line in text.splitlines():
        view.print(clean_line(line))
    view.write("log", deployment=number, text=text)
    view.write("summary", deployment=number)
    return 0


def cancel(given: Namespace, view: View) -> int:
    """Stop a deployment and watch it end; exit code 0 only if it ended as cancelled."""
    connection = connect(given)
    number = find_live_deployment(connection, given.deployment)
    interrupts = Interrupts()
    with interrupts.noted():
        # Output from before the cancellation is not shown again.
        cursor = FROM_THE_START if given.no_wait else _cursor_now(connection, number)
        deployment: dict[str, Any] = connection.post("deployments", number, "cancel")
        show_request(deployment, view)
        if given.no_wait:
            write_summary(deployment, view)
            return 0
        return follow(connection, view, number, interrupts, after=cursor, wanted="cancelled")


def _cursor_now(connection: Connection, number: int) -> int:
    cursor, more = FROM_THE_START, True
    while more:
        answer = connection.get("deployments", number, "events", after=cursor)
        cursor, more = int(answer["cursor"]), bool(answer["more"])
    return cursor


def notes(given: Namespace, view: View) -> int:
    """Print what came with a deployment: the commits since what served before."""
    connection = connect(given)
    number = find_deployment(connection, given.deployment)
    found: dict[str, Any] = connection.get("deployments", number, "notes")
    view.print(str(found.get("markdown", "")).rstrip("\n"))
    view.write("summary", **found)
    return 0


def _add_deployment(parser: ArgumentParser) -> None:
    parser.add_argument("deployment", help="its number; or an environment: the newest there")


def _add_list(parser: ArgumentParser) -> None:
    parser.add_argument("environment", nargs="?", default="", help="default: all")
    parser.add_argument("--state", default="", help="only those in this state, like waiting")
    parser.add_argument("--limit", type=int, default=20, help="at most so many: %(default)s")


def _add_logs(parser: ArgumentParser) -> None:
    _add_deployment(parser)
    parser.add_argument("--server", default="", help="of this server only")


def _add_cancel(parser: ArgumentParser) -> None:
    parser.add_argument("deployment", help="its number; or an environment: what is under way there")
    add_watching(parser)


COMMANDS = (
    Command("deployments", "list deployments, newest first", list_deployments, _add_list),
    Command("watch", "watch a deployment until it has ended", watch, _add_deployment),
    Command("logs", "print the log of a deployment", logs, _add_logs),
    Command("cancel", "stop a deployment, and watch it end", cancel, _add_cancel),
    Command("notes", "print which commits came with a deployment", notes, _add_deployment),
)
