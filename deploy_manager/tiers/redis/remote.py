"""Redis on a server: an instance for each site, which keeps all but the site's servers out."""

from __future__ import annotations

from dataclasses import replace

from . import files, reach
from .files import Wanted
from .state import State


def complete(wanted: Wanted) -> Wanted:
    """Add a drop-in with the addresses of the clients. Raises TierError."""
    path = f"/etc/systemd/system/{wanted.unit}.d/clients.conf"
    rules = reach.firewall(wanted.own["clients"])
    return replace(
        wanted,
        contents={**wanted.contents, path: f"[Service]\n{rules}\n".encode()},
        modes={**wanted.modes, path: (0o644, "root")},
    )


def apply(wanted: Wanted, known: State) -> None:
    files.apply(wanted, known)
    reach.warn(str(wanted.own["host"]), int(wanted.own["port"]))
