"""The four sites of the demo: their addresses, and the commits that they serve."""

import json
import urllib.error
import urllib.request

from deploy_manager.models import Environment


def addresses(environment: Environment) -> dict[str, str]:
    """Return each server's name and its site's address."""
    placements = environment.placements.select_related("server", "environment")
    return {entry.server.name: f"http://{entry.bind}/" for entry in placements}


def problems(environment: Environment, commit: str) -> list[str]:
    """Return the problems of the sites; none if each serves this commit."""
    found = []
    for name, address in addresses(environment).items():
        served = _commit_at(f"{address}health/")
        if served != commit:
            found.append(f"{name} at {address} serves {served}, not {commit}.")
    return found


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310  our own address
            return True
    except OSError:
        return False


def _commit_at(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310
            return str(json.load(answer)["commit"])
    except (OSError, ValueError, KeyError) as error:
        return f"nothing ({error})"
