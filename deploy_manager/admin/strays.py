"""Servers that do not serve what the others serve."""

from collections import Counter

from deploy_manager.models import Environment


def find_strays(environment: Environment) -> list[str]:
    """Return the names of servers that serve another release than most, or none at all.

    Asks nothing that is prefetched.
    """
    placements = list(environment.placements.all())
    served = Counter(each.active_release_id for each in placements if each.active_release_id)
    if not served:
        return []
    usual = served.most_common(1)[0][0]
    return [each.server.name for each in placements if each.active_release_id != usual]
