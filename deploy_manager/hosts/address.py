"""Where a host is found, and what whoever opens it gets and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from deploy_manager.recipes.host import BuildHost


class Stream(IntEnum):
    """Where a piece of a log comes from."""

    OUR_OWN = 0
    STDOUT = 1
    STDERR = 2


Sink = Callable[[Stream, bytes], None]
"""Takes output as it arrives, in pieces that end anywhere. May block: the command then waits."""


@dataclass(frozen=True)
class Address:
    """A server as plain data: this machine, or how to reach and recognise another one."""

    name: str
    local: bool = False
    hostname: str = ""
    port: int = 22
    user: str = ""
    host_key: str = ""
    """The pinned public key, like `ssh-ed25519 AAAA…`; blank: none was confirmed yet."""

    gateway: "Address | None" = None
    """The server that connections go through."""

    @property
    def known_as(self) -> str:
        """The name its host key is filed under: `host`, or `[host]:port` for ports other than 22.

        See sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
        """
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


class OpenHost(BuildHost, Protocol):
    """A host that is connected, until it is closed."""

    def close(self) -> None:
        """Hang up. Closing twice does no harm."""
