"""Addresses that a tier listens on: `http://192.0.2.1`, `https://*:443`, `192.0.2.7:5432`."""

import re
from dataclasses import dataclass

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

USUAL_PORTS = {"http": 80, "https": 443}
EVERYWHERE = "*"
"""As a host: every address of the server. Nothing listens so unless it was entered."""

PLACEHOLDER = "{address}"
"""The server's own address, for servers that listen alike."""

_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?P<host>\*|\{address\}|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True)
class Listen:
    """One address that a tier listens on."""

    host: str
    """A name, an IP address (version 6 in brackets), `*`, or the placeholder."""

    port: int
    scheme: str = ""
    """http or https; blank: another protocol."""

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def is_everywhere(self) -> bool:
        return self.host == EVERYWHERE

    @property
    def bare_host(self) -> str:
        """The host without the brackets of IP version 6."""
        return self.host.strip("[]")

    @property
    def reached_at(self) -> str:
        """host:port by which the server itself reaches it."""
        host = "127.0.0.1" if self.is_everywhere else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        prefix = f"{self.scheme}://" if self.scheme else ""
        return f"{prefix}{self.host}:{self.port}"


def parse_listen(text: str, usual_port: int = 0) -> Listen:
    """Return the address that a text means. Raises ValueError with what to write instead."""
    found = _ADDRESS.fullmatch(text)
    scheme = (found["scheme"] or "") if found else ""
    port = int((found and found["port"]) or USUAL_PORTS.get(scheme, usual_port))
    if found is None or not 0 < port < 65536:
        raise ValueError(
            Message(
                _(
                    "%(text)s is not an address to listen on: write it like http://192.0.2.7,"
                    " https://*:443, http://{address}:8080 or, for databases, 192.0.2.7:5432."
                ),
                text=repr(text),
            )
        )
    return Listen(found["host"], port, scheme)
