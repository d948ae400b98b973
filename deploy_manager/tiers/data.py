"""What databases and caches have in common: they are reached by the site's servers only."""

from deploy_manager.tiers.kinds import Facts, Kind

LOOPBACK = "127.0.0.1"


class DataTier(Kind):
    """A tier that keeps a site's data, behind its processes."""


def clients_of(facts: Facts) -> list[str]:
    """Return the addresses that may connect: the site's servers, and the server itself.

    Who connects to an address of its own machine comes from that address, or from the loopback.
    """
    own = [] if facts.listen[0].is_everywhere else [facts.listen[0].bare_host]
    return list(dict.fromkeys([LOOPBACK, *own, *facts.clients]))
