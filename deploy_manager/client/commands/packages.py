"""`who-runs`, `advisories`: what is installed, and what of it is vulnerable."""

from argparse import ArgumentParser, Namespace
from typing import Any

from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.commands.finding import find_environment
from deploy_manager.client.exits import FAILED, REFUSED
from deploy_manager.client.texts import clean, shorten
from deploy_manager.client.views import Row, View


def who_runs(given: Namespace, view: View) -> int:
    """List the servers that run such a version of a package."""
    found: dict[str, Any] = connect(given).get("packages", spec=given.package)
    rows = found["runs"]
    if rows:
        view.table(rows, RUNNING)
    else:
        view.remark(f"No server is known to run {given.package}.")
    for row in rows:
        view.write("running", **row)
    _show_unseen(found.get("unseen") or (), view)
    view.write("summary", package=given.package, found=len(rows))
    return 0


def _show_unseen(places: "list[Row] | tuple[()]", view: View) -> None:
    if places:
        names = [f"{each['environment']} on {each['server']}" for each in places]
        view.remark(f"Unknown, since not asked or not answered: {shorten(names)}.")
    for each in places:
        view.write("unseen", **each)


def advisories(given: Namespace, view: View) -> int:
    """List what is vulnerable; exit code 1 if anything is, 2 if that is not known of everything."""
    connection = connect(given)
    name = find_environment(connection, given.environment) if given.environment else ""
    found: dict[str, Any] = connection.get("advisories", environment=name)
    exposed, unknown = found["vulnerable"], found.get("unknown") or ()
    unseen = found.get("unseen") or ()
    if exposed:
        view.table(exposed, EXPOSED)
    for row in exposed:
        view.write("vulnerable", **row)
    for row in unknown:
        view.remark(f"unknown: {row['environment']}, {row['package']} {row['version']}")
        view.write("unknown", **row)
    _show_unseen(unseen, view)
    view.write("summary", vulnerable=len(exposed), unknown=len(unknown))
    if exposed:
        return FAILED
    if unknown or unseen:
        return REFUSED
    view.remark("No advisory is about anything that runs.")
    return 0


RUNNING = {
    "environment": lambda row: row["environment"],
    "server": lambda row: row["server"],
    "version": lambda row: row["version"],
    "pinned": lambda row: row.get("pinned"),
    "": lambda row: "" if row.get("is_comparable", True) else "this version can't be compared",
}


def _where(row: Row) -> str:
    return ", ".join(
        filter(None, (shorten(row.get("servers") or ()), "pinned" if row.get("pinned") else ""))
    )


def _identifiers(row: Row) -> str:
    return shorten([each["identifier"] for each in row.get("advisories") or ()])


EXPOSED = {
    "environment": lambda row: row["environment"],
    "package": lambda row: row["package"],
    "version": lambda row: row["version"],
    "where": _where,
    "advisory": _identifiers,
    "fixed in": lambda row: clean(row.get("fixed_in")) or "no version yet",
}


def _add_package(parser: ArgumentParser) -> None:
    parser.add_argument("package", metavar="'django<5.2.8'", help="a package, and which versions")


def _add_environment(parser: ArgumentParser) -> None:
    parser.add_argument("environment", nargs="?", default="", help="default: all")


COMMANDS = (
    Command("who-runs", "list the servers that run such a version", who_runs, _add_package),
    Command(
        "advisories",
        "list what is vulnerable; exit code 1 if anything is",
        advisories,
        _add_environment,
    ),
)
