"""Servers at work: commands and files on another machine over SSH, or on this one."""

from threading import Event

from deploy_manager.exceptions import HostUnreachable
from deploy_manager.hosts.address import Address, OpenHost, Sink, Stream
from deploy_manager.hosts.local import LocalHost

__all__ = ["Address", "OpenHost", "Sink", "Stream", "open_host"]


def open_host(address: Address, sink: Sink, cancelled: Event) -> OpenHost:
    """Connect to a server, or open this machine.

    Raises HostUnreachable, HostKeyMismatch, Cancelled.
    """
    if address.local:
        return LocalHost(address.name, sink, cancelled)
    raise HostUnreachable("SSH comes next.")
