"""What an argument names: an environment, or a deployment by its number or its environment."""

import re
from collections.abc import Sequence
from typing import Any

from deploy_manager.client.connection import Connection
from deploy_manager.client.exits import Refused
from deploy_manager.client.texts import shorten

NUMBER = re.compile(r"#?([0-9]{1,18})", re.ASCII)


def find_environment(connection: Connection, name: str) -> str:
    """Return the full name, like shop/production, of the environment. Raises Refused."""
    if name.count("/") == 1 and not {".", "..", ""} & set(name.split("/")):
        return name
    known = [str(each["environment"]) for each in environments_of(connection)]
    found = [each for each in known if each.partition("/")[2] == name]
    if not found:
        raise Refused(
            f"There is no environment {name!r}. Environments: {shorten(known) or 'none'}."
        )
    if len(found) > 1:
        raise Refused(f"Several environments have this name: {shorten(found)}. Name one of them.")
    return found[0]


def environments_of(connection: Connection) -> Sequence[dict[str, Any]]:
    """Return all that the token may see."""
    found: Sequence[dict[str, Any]] = connection.get("environments")
    return found


def find_deployment(connection: Connection, name: str) -> int:
    """Return the number of a deployment: the one that is named, or the newest of an environment.

    Raises Refused.
    """
    if number := NUMBER.fullmatch(name):
        return int(number[1])
    environment = find_environment(connection, name)
    found = connection.get("deployments", environment=environment, limit=1)["deployments"]
    if not found:
        raise Refused(f"Nothing has been run on {environment} yet.")
    return int(found[0]["number"])


def find_live_deployment(connection: Connection, name: str) -> int:
    """Return the number of a deployment: the one named, or what is under way on an environment.

    If nothing is, the only one that waits. Raises Refused.
    """
    if number := NUMBER.fullmatch(name):
        return int(number[1])
    environment = find_environment(connection, name)
    for states in (("running", "queued"), ("waiting",)):
        found = [
            int(each["number"])
            for state in states
            for each in connection.get("deployments", environment=environment, state=state)[
                "deployments"
            ]
        ]
        if len(found) > 1:
            raise Refused(
                f"Several wait on {environment}. Name one by its number: {shorten(found)}."
            )
        if found:
            return found[0]
    raise Refused(f"Nothing is under way on {environment}.")
