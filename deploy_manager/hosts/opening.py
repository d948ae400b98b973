"""Opening a host by its address: a server over SSH, or this machine."""

from contextlib import closing
from threading import Event

from deploy_manager.hosts.address import Address, OpenHost, Sink
from deploy_manager.hosts.guard_line import CommandRecord, Work, read_records
from deploy_manager.hosts.link import connect
from deploy_manager.hosts.local import LocalHost
from deploy_manager.hosts.running import no_sink
from deploy_manager.hosts.ssh import SshHost


def open_host(address: Address, sink: Sink, cancelled: Event) -> OpenHost:
    """Connect to a server, or open this machine.

    `sink` receives output in the thread that runs the command. Once `cancelled` is set, the running
    command is stopped and no other is started, within about half a second.
    Raises HostUnreachable, HostKeyMismatch, Cancelled.
    """
    if address.local:
        return LocalHost(address.name, sink, cancelled)
    return SshHost(address.name, connect(address, cancelled), sink, cancelled)


def bare_host(address: Address, cancelled: Event) -> LocalHost | SshHost:
    """Return a host whose commands belong to the connection and are not logged.

    `cancelled` ends the attempt to connect only. Raises as `open_host` does.
    """
    if address.local:
        return LocalHost(address.name, no_sink, Event())
    return SshHost(address.name, connect(address, cancelled), no_sink, Event())


def probe(address: Address, work: Work, cancelled: Event) -> list[CommandRecord]:
    """Return what the journal on a server says about a deployment's commands.

    Takes no lock and starts nothing. Raises as `open_guarded` does.
    """
    with closing(bare_host(address, cancelled)) as host:
        return read_records(host, work)
