"""One question to a server, over a connection of its own, with an end in time."""

from contextlib import closing
from threading import Event, Timer

from deploy_manager.exceptions import Cancelled, RecipeError
from deploy_manager.hosts.address import Address, Stream
from deploy_manager.hosts.opening import open_host
from deploy_manager.messages import Message
from deploy_manager.recipes.host import Command, Result


def run_in_time(
    address: Address, command: Command, seconds: float, late: Message, stdin: bytes = b""
) -> Result:
    """Connect, run a command whatever its exit code, and hang up; nothing is logged.

    Raises RecipeError with `late` after so many seconds, HostUnreachable, HostKeyMismatch,
    CommandTimedOut.
    """
    over = Event()
    # Not the command's own timeout: connecting, maybe through a gateway, has to count, too.
    alarm = Timer(seconds, over.set)
    alarm.daemon = True
    alarm.start()
    try:
        with closing(open_host(address, _no_log, over)) as host:
            return host.run(command, stdin=stdin, check=False, quiet=True)
    except Cancelled:
        raise RecipeError(late) from None
    finally:
        alarm.cancel()


def _no_log(stream: Stream, data: bytes) -> None:
    """Keep no output: the answer is in the command's result."""
