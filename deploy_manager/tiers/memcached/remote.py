"""memcached on a server: a unit for each site, which keeps all but the site's servers out."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from . import files, reach
from .files import Wanted
from .running import TierError
from .state import State

UNIT = """\
# {site}: written by deploy_manager, which replaces what is changed here.
[Unit]
Description=memcached of {site}
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/bin/memcached -l {host} -p {port} -m {memory} -c {connections} -U 0
DynamicUser=yes
Restart=always
RestartSec=1
LimitNOFILE={files}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6
MemoryDenyWriteExecute=yes
{addresses}

[Install]
WantedBy=multi-user.target
"""


def complete(wanted: Wanted) -> Wanted:
    """Write the unit from numbers and addresses only, whatever was sent. Raises TierError."""
    own = wanted.own
    unit = UNIT.format(
        site="".join(each for each in str(own["site"]) if each.isprintable()).replace("%", "%%"),
        host=_address(own["host"]),
        files=int(own["connections"]) + 64,
        addresses=reach.firewall(own["clients"]),
        **{name: int(own[name]) for name in ("port", "memory", "connections")},
    )
    path = f"/etc/systemd/system/{wanted.unit}"
    return replace(wanted, contents={path: unit.encode()}, modes={path: (0o644, "root")})


def _address(value: Any) -> str:
    if value == "*":
        return "0.0.0.0"  # as it was entered
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise TierError(f"{value} is not an IP address: memcached listens on one.") from None


def apply(wanted: Wanted, known: State) -> None:
    files.apply(wanted, known)
    reach.warn(_address(wanted.own["host"]), int(wanted.own["port"]))
