"""From which addresses a tier may be reached: for systemd's firewall and for a database's rules."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from .running import TierError

STRANGER = "127.83.11.7"
"""An address of this machine that is nobody's: what lets it in lets everybody in."""

PATIENCE = 1.0
"""Seconds: who is kept out by a firewall gets no answer at all."""


def networks(clients: Iterable[str]) -> list[str]:
    """Return the addresses of these clients, each as a network of one. Raises TierError."""
    found: dict[str, None] = {}
    for client in clients:
        try:
            rows = socket.getaddrinfo(client.strip("[]"), None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TierError(f"This server can't look up the client {client}: {error}.") from None
        for row in rows:
            address = ipaddress.ip_address(str(row[4][0]).partition("%")[0])
            found[f"{address}/{address.max_prefixlen}"] = None
    return list(found)


def firewall(clients: Iterable[str]) -> str:
    """Return the lines of a unit that keep all others out. Raises TierError."""
    return "\n".join(
        ["IPAddressDeny=any", *(f"IPAddressAllow={each}" for each in networks(clients))]
    )


def lets_strangers_in(host: str, port: int) -> bool:
    """Whether somebody who is no client can connect, by a try from an address of this machine."""
    with socket.socket() as stranger:
        stranger.settimeout(PATIENCE)
        try:
            stranger.bind((STRANGER, 0))
            stranger.connect((host, port))
        except OSError:
            return False
    return True


def warn(host: str, port: int) -> None:
    """Say it if systemd's firewall has no effect here."""
    if lets_strangers_in(host, port):
        print(
            f"Warning: systemd's firewall has no effect on this machine: whoever reaches"
            f" {host}:{port} can connect. Let a firewall of the network keep others out."
        )
