"""What databases and caches have in common: they are reached by the site's servers only."""

from collections.abc import Mapping

from deploy_manager.tiers.kinds import Facts, Kind

LOOPBACK = "127.0.0.1"


class DataTier(Kind):
    """A tier that keeps a site's data, behind its processes."""

    def reach(self, facts: Facts) -> Mapping[str, object]:
        """Return where it listens, and who may connect: the site's servers, and the server itself.

        Who connects to an address of its own machine comes from that address, or from the loopback.
        """
        listen = facts.listen[0]
        own = [] if listen.is_everywhere else [listen.bare_host]
        clients = list(dict.fromkeys([LOOPBACK, *own, *facts.clients]))
        return {"host": listen.bare_host, "port": listen.port, "clients": clients}
