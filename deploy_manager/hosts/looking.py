"""A host that is only looked at: without a guard, so nothing of ours is left there, or needed."""

import contextlib
from threading import Event

from deploy_manager.exceptions import HandedOver
from deploy_manager.hosts import shell
from deploy_manager.hosts.address import Address, Sink
from deploy_manager.hosts.base import ShellHost
from deploy_manager.hosts.guarded import LOOKS_FOR, ResumeCursor
from deploy_manager.hosts.link import connect
from deploy_manager.hosts.local import LocalHost
from deploy_manager.hosts.running import Watch, no_sink
from deploy_manager.hosts.ssh import SshHost
from deploy_manager.recipes.host import Command, Result


class LookingHost(ShellHost):
    """A server for the steps of a deployment that change nothing: they may be run again."""

    handed_over = Event()

    def begin_step(self, number: int, stored: ResumeCursor, once: bool) -> None:
        """Begin a step; one that another worker had begun is seen again from its start."""

    def look(self, command: Command) -> Result:
        """Run a command that changes nothing, outside the log, even after a cancellation."""
        script = shell.script_of(shell.line_of(command), "")
        with contextlib.closing(self._start(script, b"")) as running:
            return Watch(running, no_sink, Event(), LOOKS_FOR).see_through("Looking around")

    def _raise_if_cancelled(self) -> None:
        if self.handed_over.is_set():
            raise HandedOver
        super()._raise_if_cancelled()


class LookingSshHost(LookingHost, SshHost):
    """A server over SSH that is only looked at."""


class LookingLocalHost(LookingHost, LocalHost):
    """This machine, only looked at."""


def open_looking(
    address: Address, sink: Sink, cancelled: Event, handed_over: Event | None = None
) -> LookingHost:
    """Connect to a server, or open this machine.

    Once `handed_over` is set no other command is started: another worker looks again (HandedOver).
    Raises HostUnreachable, HostKeyMismatch, Cancelled.
    """
    host: LookingHost
    if address.local:
        host = LookingLocalHost(address.name, sink, cancelled)
    else:
        host = LookingSshHost(address.name, connect(address, cancelled), sink, cancelled)
    host.handed_over = handed_over or Event()
    return host
