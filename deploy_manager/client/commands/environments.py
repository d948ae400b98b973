"""`status`, `environments`: what there is, what it serves, and what is under way."""

from argparse import ArgumentParser, Namespace
from typing import Any

from rich.text import Text

from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.commands.finding import environments_of, find_environment
from deploy_manager.client.terminal import words_of
from deploy_manager.client.texts import clean, short, shorten
from deploy_manager.client.views import Row, View, show_list


def list_environments(given: Namespace, view: View) -> int:
    """List all environments that the token may see."""
    show_list(view, "environment", environments_of(connect(given)), COLUMNS)
    return 0


def show_status(given: Namespace, view: View) -> int:
    """Show an environment with its servers; without one, the manager and all environments."""
    connection = connect(given)
    if given.environment:
        name = find_environment(connection, given.environment)
        found: Row = connection.get("environments", *name.split("/"))
        _print_environment(found, view)
        view.write("summary", **found)
        return 0
    health: dict[str, Any] = connection.get("health")
    counts = ", ".join(f"{health[name]} {name}" for name in COUNTS)
    view.print(f"deploy_manager {clean(health['version'])}: {clean(health['status'])}; {counts}")
    rows = environments_of(connection)
    view.table(rows, COLUMNS)
    for row in rows:
        view.write("environment", **row)
    view.write("summary", **health)
    return 0


COUNTS = ("running", "queued", "waiting", "problems")


def _print_environment(found: Row, view: View) -> None:
    view.print(Text(clean(found["environment"]), "bold"))
    for label, text in {
        "serves": _serves(found),
        "branch": clean(found.get("ref")),
        "last": _last(found),
        "now": _deployment(found.get("live_deployment")),
        "frozen": clean(found.get("frozen")),
        "promotes": f"from {clean(found['promotes_from'])}" if found.get("promotes_from") else "",
        "checks": shorten(found.get("required_statuses") or ()),
        "approvals": clean(found.get("approvals_needed") or ""),
    }.items():
        if text:
            view.print(f"  {label:<10}{text}")
    view.table(
        found.get("servers") or (),
        {
            "server": lambda row: row["server"],
            "release": lambda row: row.get("release") or "nothing yet",
            "commit": lambda row: short(row.get("commit")),
        },
    )


def _serves(row: Row) -> str:
    if not row.get("commit"):
        return "nothing yet"
    return f"{short(row['commit'])} {clean(row.get('subject'))}".strip()


def _last(row: Row) -> str:
    return _deployment(row.get("last_deployment"))


def _deployment(brief: Row | None) -> str:
    """Return a deployment like `#12 deploy: succeeded`."""
    if not brief:
        return ""
    return clean(f"#{brief['number']} {brief['recipe']}: {words_of(str(brief['state']))}")


COLUMNS = {
    "environment": lambda row: row["environment"],
    "serves": _serves,
    "last": _last,
    "frozen": lambda row: "frozen" if row.get("frozen") else "",
}


def _add_environment(parser: ArgumentParser) -> None:
    parser.add_argument("environment", nargs="?", default="", help="like shop/production")


COMMANDS = (
    Command(
        "status", "show an environment; without one, all of them", show_status, _add_environment
    ),
    Command("environments", "list the environments that you may see", list_environments),
)
