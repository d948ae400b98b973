"""What follows a request: its number, then its events until it has ended."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from deploy_manager.client.connection import Connection
from deploy_manager.client.exits import FAILED, ClientError, Unreachable
from deploy_manager.client.terminal import words_of
from deploy_manager.client.texts import clean
from deploy_manager.client.views import Row, View
from deploy_manager.client.watching import FROM_THE_START, Interrupts, Watcher

SUCCEEDED = "succeeded"


def add_watching(parser: ArgumentParser) -> None:
    watching = parser.add_mutually_exclusive_group()
    watching.add_argument(
        "--wait", action="store_true", help="watch it until it has ended: the default"
    )
    watching.add_argument("--no-wait", action="store_true", help="request it and do not watch")


def follow_request(
    connection: Connection,
    view: View,
    given: Namespace,
    path: tuple[object, ...],
    body: Mapping[str, object],
) -> int:
    """Request a deployment and, unless it is not to be watched, watch it; return the exit code."""
    interrupts = Interrupts()
    # From before the request on: a Ctrl-C between the two must not leave it unmentioned.
    with interrupts.noted():
        deployment = _send(connection, path, body)
        show_request(deployment, view)
        if given.no_wait:
            view.print(f"Its page: {clean(deployment.get('url'))}")
            write_summary(deployment, view)
            return 0
        number, waits_for = int(deployment["number"]), deployment.get("message")
        return follow(connection, view, number, interrupts, waits_for=waits_for)


def _send(connection: Connection, path: tuple[object, ...], body: Mapping[str, object]) -> Row:
    try:
        found: Row = connection.post(*path, body=body)["deployment"]
    except Unreachable as error:
        raise Unreachable(
            f"{error} Whether it got the request is not known: `deploy-manager deployments` tells."
        ) from error
    return found


def show_request(deployment: Row, view: View) -> None:
    """Show the number and the state of a request, and what it waits for."""
    number, state, message = (deployment.get(name) for name in ("number", "state", "message"))
    view.write("requested", deployment=number, state=state, message=message)
    view.print(f"#{number} {words_of(str(state))}")
    if message:
        view.remark(str(message))


def follow(
    connection: Connection,
    view: View,
    number: int,
    interrupts: Interrupts,
    *,
    after: int = FROM_THE_START,
    waits_for: object = None,
    wanted: str = SUCCEEDED,
) -> int:
    """Watch a deployment; return 0 if it ended in the wanted state."""
    summary = Watcher(connection, view, number, interrupts, after, waits_for).watch()
    if not summary:
        write_summary(_as_it_is(connection, number), view)
    return 0 if summary.get("state") == wanted else FAILED


def _as_it_is(connection: Connection, number: int) -> Row:
    """Return a deployment when its watcher has left."""
    try:
        found: Row = connection.get("deployments", number)
    except ClientError:
        found = {"number": number, "state": "unknown"}
    return found


def write_summary(deployment: Row, view: View) -> None:
    """Write the summary of a deployment that is not watched, for programs."""
    names = ("state", "message", "commit", "release", "started_at", "finished_at", "servers")
    known = {name: deployment[name] for name in names if name in deployment}
    view.write("summary", deployment=deployment["number"], **known)
