"""A host that is only looked at: without a guard, so nothing of ours is left there, or needed."""

from threading import Event

from deploy_manager.hosts.address import Address, Sink
from deploy_manager.hosts.guarded import ResumeCursor
from deploy_manager.hosts.link import connect
from deploy_manager.hosts.ssh import SshHost


class LookingHost(SshHost):
    """A server for the steps of a deployment that change nothing: they may be run again."""

    def begin_step(self, number: int, stored: ResumeCursor, once: bool) -> None:
        """Begin a step; one that another worker had begun is seen again from its start."""


def open_looking(address: Address, sink: Sink, cancelled: Event) -> LookingHost:
    """Connect to a server. Raises HostUnreachable, HostKeyMismatch, Cancelled."""
    return LookingHost(address.name, connect(address, cancelled), sink, cancelled)
