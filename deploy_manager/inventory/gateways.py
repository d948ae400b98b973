"""Gateways: what a file calls one is found among the servers, those of the file included."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.jumps import Hop, read_hops
from deploy_manager.inventory.changes import REFUSED, Planned
from deploy_manager.messages import Message
from deploy_manager.models import Server

Way = tuple[str, ...]
"""Names of the servers on the way to one, the nearest first; the last is its gateway."""


def with_gateways(planned: Sequence[Planned], known: Mapping[str, Server]) -> list[Planned]:
    """Find the gateways. A server whose gateway can't be taken is refused, and so on.

    `known` are the servers there are, by name.
    """
    left = [each for each in planned if each.state != REFUSED]
    why: dict[str, Message] = {}
    while True:
        ways, problems = _find_ways(left, known)
        own = {name: way[-1] if way else "" for name, way in ways.items()}
        of_rows = {name: row.gateway.name for name, row in known.items() if row.gateway}
        for name, way in ways.items():
            if problem := _why_not_through(name, of_rows | own, way):
                problems[name] = problem
        if not problems:
            break
        # Others may go through those that are refused now: all are looked at once more.
        why |= problems
        left = [each for each in left if each.name not in problems]
    return [
        replace(each, state=REFUSED, why=why[each.name])
        if each.state != REFUSED and each.name in why
        else replace(each, gateway=own.get(each.name, ""))
        for each in planned
    ]


def _find_ways(
    left: Iterable[Planned], known: Mapping[str, Server]
) -> tuple[dict[str, Way], dict[str, Message]]:
    """Return the way to each server, and why there is none, by name."""
    will_be = {**known, **{each.name: each.server for each in left if each.server}}
    gateways = Gateways(will_be.values())
    ways: dict[str, Way] = {}
    problems: dict[str, Message] = {}
    for each in left:
        row = known.get(each.name)
        said = each.found.gateway
        try:
            if said:
                ways[each.name] = gateways.names_on_way(said)
            elif said is None and row is not None and row.gateway is not None:
                ways[each.name] = (row.gateway.name,)
            else:
                ways[each.name] = ()
        except InventoryError as error:
            problems[each.name] = error.message
    return ways, problems


class Gateways:
    """Finds servers by what a gateway is called."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self._by_name: dict[str, Server] = {}
        self._by_address: dict[str, list[Server]] = {}
        for server in servers:
            self._by_name[server.name] = server
            if server.address:
                self._by_address.setdefault(server.address.lower(), []).append(server)

    def names_on_way(self, gateway: str) -> Way:
        """Return the names of the servers on the way, the nearest first. Raises InventoryError."""
        return tuple(self._find(hop) for hop in read_hops(gateway))

    def _find(self, hop: Hop) -> str:
        if hop.host in self._by_name:
            return hop.host
        found = [
            server.name
            for server in self._by_address.get(hop.host.lower(), ())
            if hop.user in ("", server.user) and hop.port in (None, server.port)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise InventoryError(
                _("Its gateway %(gateway)s may be %(names)s: give the name of one."),
                gateway=hop.host,
                names=", ".join(sorted(found)[:5]),
            )
        raise InventoryError(
            _("Its gateway %(gateway)s is neither in the file nor among the servers: add it."),
            gateway=hop.host,
        )


def _why_not_through(name: str, gateways: Mapping[str, str], way: Way) -> Message:
    """Return why a server can't be reached on this way; blank: it can.

    `gateways` has what each server's own gateway will be, by name.
    """
    passed = [name]
    hop = gateways.get(name, "")
    while hop:
        if hop in passed:
            return Message(_("The gateways lead back to %(name)s."), name=hop)
        passed.append(hop)
        hop = gateways.get(hop, "")
    # A way of several hosts says which gateways these have themselves.
    if len(way) > 1 and tuple(reversed(passed[1:])) != way:
        return Message(
            _("It goes through %(way)s: let each of these have the one before it as its gateway."),
            way=", ".join(way),
        )
    return Message()
