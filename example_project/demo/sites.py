"""The four sites of the demo: their addresses, and the commits that they serve."""

import json
import urllib.error
import urllib.request

from deploy_manager.models import Environment


def addresses(environment: Environment) -> dict[str, str]:
    """Return each server's name and its site's address."""
    placements = environment.placements.select_related("server", "environment")
    return {entry.server.name: f"http://{entry.bind}/" for entry in placements}


def problems(environment: Environment, *, everywhere: bool) -> list[str]:
    """Return the problems of the sites; none if each serves the commit of its active release.

    Those on servers without a release count only if all should serve: with `everywhere`.
    """
    found = []
    placements = environment.placements.select_related("server", "environment", "active_release")
    for entry in placements:
        release, address = entry.active_release, f"http://{entry.bind}/"
        if release is None and not everywhere:
            continue
        served = _commit_at(f"{address}health/")
        if release is None:
            found.append(f"{entry.server.name} at {address} serves {served}.")
        elif served != release.commit:
            found.append(f"{entry.server.name} at {address} serves {served}, not {release.commit}.")
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
