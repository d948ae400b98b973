"""Addresses of servers, and the types that an open host and its log share."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from deploy_manager.logins import KeyLogin
from deploy_manager.recipes.host import BuildHost


class Stream(IntEnum):
    """The origin of a piece of a log."""

    OUR_OWN = 0
    STDOUT = 1
    STDERR = 2


Sink = Callable[[Stream, bytes], None]
"""Receives output as it arrives, cut anywhere. May block: the command then waits."""


@dataclass(frozen=True)
class Address:
    """A server as plain data: this machine, or how to reach and recognise a remote one."""

    name: str
    local: bool = False
    hostname: str = ""
    port: int = 22
    user: str = ""
    host_key: str = ""
    """The pinned public key, like `ssh-ed25519 AAAA…`; blank if none has been confirmed yet."""

    is_bootstrap: bool = False
    """Whether it is reached by its bootstrap user, with the key for that account."""

    login: KeyLogin | None = None
    """What it is logged in to with, still closed; None: what the settings name."""

    legacy_algorithms: bool = False
    """Whether ciphers and the like are accepted that are weak by now."""

    gateway: "Address | None" = None
    """The server that connections go through."""

    @property
    def known_as(self) -> str:
        """The name of its host key in known_hosts: `host`, or `[host]:port` unless the port is 22.

        See sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
        """
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"

    @property
    def described(self) -> str:
        """The server as a log names it: `web1 (deploy@10.0.0.5)`."""
        if self.local:
            return f"{self.name} (this machine)"
        way = f", through {self.gateway.name}" if self.gateway else ""
        return f"{self.name} ({self.user}@{self.known_as}{way})"


class OpenHost(BuildHost, Protocol):
    """A connected host."""

    def close(self) -> None:
        """Hang up. May be called twice."""
