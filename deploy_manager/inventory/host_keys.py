"""Host keys of many servers: fetched side by side, shown, and pinned as they were shown."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.addresses import address_of
from deploy_manager.auditing import noting
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.in_time import fetch_host_key_in_time
from deploy_manager.hosts.keys import HostKey, fingerprint
from deploy_manager.isolation import explain
from deploy_manager.messages import Message
from deploy_manager.models import Server

TIMEOUT = 12.0
"""Seconds for one server, its gateways included."""

AT_A_TIME = 50

PINNED, NEW, CHANGED, UNKNOWN = "pinned", "new", "changed", "unknown"

UNREADABLE = Message(_("unreadable: fetch it again"))


@dataclass(frozen=True)
class SeenKey:
    """What a server has shown, or why it has shown nothing."""

    server: Server
    address: Address | None = None
    key: HostKey | None = None
    problem: Message = field(default_factory=Message)

    @property
    def pinned(self) -> str:
        """The fingerprint of the pinned key; blank if there is none."""
        try:
            return fingerprint(self.server.host_key) if self.server.host_key else ""
        except ValueError:
            return str(UNREADABLE)

    @property
    def state(self) -> str:
        if self.key is None:
            return UNKNOWN
        if self.key.fingerprint == self.pinned:
            return PINNED
        return CHANGED if self.server.host_key else NEW


def fetch_host_keys(servers: Iterable[Server]) -> list[SeenKey]:
    """Return what each server shows, in their order. One that is dead stops no other.

    This machine is left out: it has no host key.
    """
    seen = [_reach(server) for server in servers if not server.is_local]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(_fetch, seen))


def _reach(server: Server) -> SeenKey:
    """Find its address, in the one thread that reads rows."""
    try:
        return SeenKey(server, address_of(server))
    except DeployManagerError as error:
        return SeenKey(server, problem=error.message)


def _fetch(seen: SeenKey) -> SeenKey:
    if seen.address is None:
        return seen
    try:
        key = fetch_host_key_in_time(seen.address, TIMEOUT)
    except Exception as error:
        return SeenKey(seen.server, seen.address, problem=explain(error))
    return SeenKey(seen.server, seen.address, key)


def server_facts(server: Server) -> dict[str, Any]:
    """Return what must not change between a look at a key and the moment when it is pinned."""
    return {
        "server": server.pk,
        "address": f"{server.address}:{server.port}",
        "way": _way_to(server),
        "pinned": server.host_key,
    }


def _way_to(server: Server) -> list[str]:
    """Return the addresses of the gateways: behind another one, an address is another machine."""
    way: list[str] = []
    passed = {server}
    while (gateway := server.gateway) is not None and gateway not in passed:
        way.append(f"{gateway.address}:{gateway.port}")
        passed.add(gateway)
        server = gateway
    return way


def pin(facts: dict[str, Any], line: str) -> bool:
    """Pin a key that was seen on a server of these facts; False if it is another one by now."""
    server = Server.objects.select_related("gateway").filter(pk=facts["server"]).first()
    if server is None or server_facts(server) != facts:
        return False
    # Conditional, as two people may confirm at the same time.
    found = Server.objects.filter(
        pk=server.pk, host_key=server.host_key, address=server.address, port=server.port
    )
    with noting(found):
        return bool(found.update(host_key=line))


def by_distance(servers: Sequence[Server]) -> list[list[Server]]:
    """Return the servers in rounds: gateways first, whose keys have to be pinned for the others."""
    rounds: dict[int, list[Server]] = {}
    for server in servers:
        rounds.setdefault(len(_way_to(server)), []).append(server)
    return [rounds[distance] for distance in sorted(rounds)]
