"""Servers that do not serve what the others serve."""

from deploy_manager.models import Environment
from deploy_manager.models.serving import most_served


def find_out_of_sync(environment: Environment) -> list[str]:
    """Return the names of servers that serve another release than most, or none at all.

    Asks nothing that is prefetched.
    """
    placements = list(environment.placements.all())
    usual = most_served(placements)
    if usual is None:
        return []
    return [each.server.name for each in placements if each.active_release_id != usual.pk]
