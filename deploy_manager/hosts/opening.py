"""Open a server's host, whatever its address says: another machine over SSH, or this one."""

from contextlib import closing
from threading import Event

from deploy_manager.hosts.address import Address, OpenHost, Sink
from deploy_manager.hosts.guard_line import CommandRecord, Work, read_records
from deploy_manager.hosts.guarded import bare_host
from deploy_manager.hosts.link import connect
from deploy_manager.hosts.local import LocalHost
from deploy_manager.hosts.ssh import SshHost


def open_host(address: Address, sink: Sink, cancelled: Event) -> OpenHost:
    """Connect to a server, or open this machine.

    `sink` takes what is printed, from the thread that runs the command. Once `cancelled` is set,
    the running command is stopped and no other is started, within about half a second.
    Raises HostUnreachable, HostKeyMismatch, Cancelled.
    """
    if address.local:
        return LocalHost(address.name, sink, cancelled)
    return SshHost(address.name, connect(address, cancelled), sink, cancelled)


def probe(address: Address, work: Work, cancelled: Event) -> list[CommandRecord]:
    """Return what the journal on a server knows of a deployment's commands.

    It keeps nobody from working and starts nothing. Raises as `open_guarded` does.
    """
    with closing(bare_host(address, cancelled)) as host:
        return read_records(host, work)
