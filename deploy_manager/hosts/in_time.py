"""One question to a server, over a connection of its own, with an end in time."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event, Timer

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import Cancelled, HostUnreachable, RecipeError
from deploy_manager.hosts.address import Address, Stream
from deploy_manager.hosts.keys import HostKey
from deploy_manager.hosts.link import fetch_host_key
from deploy_manager.hosts.opening import open_host
from deploy_manager.messages import Message
from deploy_manager.recipes.host import Command, Result

FOREIGN = 46
"""Exit code: what was to be run belongs to another account."""


def run_in_time(
    address: Address, command: Command, seconds: float, late: Message, stdin: bytes = b""
) -> Result:
    """Connect, run a command whatever its exit code, and hang up; nothing is logged.

    Raises RecipeError with `late` after so many seconds, HostUnreachable, HostKeyMismatch,
    CommandTimedOut.
    """
    try:
        # Not the command's own timeout: connecting, maybe through a gateway, has to count, too.
        with _alarm(seconds) as over, closing(open_host(address, _no_log, over)) as host:
            return host.run(command, stdin=stdin, check=False, quiet=True)
    except Cancelled:
        raise RecipeError(late) from None


def fetch_host_key_in_time(address: Address, seconds: float) -> HostKey:
    """Return the key a server presents. Raises HostUnreachable, also after so many seconds."""
    try:
        with _alarm(seconds) as over:
            return fetch_host_key(address, over)
    except Cancelled:
        raise HostUnreachable(
            _("%(server)s has not shown a host key within %(seconds)s s."),
            server=address.described,
            seconds=f"{seconds:g}",
        ) from None


def unless_foreign(path: str) -> str:
    """Return the line of sh that ends with FOREIGN unless the account, or root, owns what is there.

    Whoever moves a row to another folder must not have a program run that lies there.
    """
    of_root = f'test "$(find -H {path} -prune -user 0)"'
    return f"test -O {path} || {of_root} || exit {FOREIGN}"


def refuse_foreign(server: str, result: Result) -> None:
    """Raise RecipeError if a command ended at such a line."""
    if result.exit_code == FOREIGN:
        raise RecipeError(
            _(
                "What lies in the deploy path of %(server)s belongs to another account than the"
                " one that logs in: nothing of it is run."
            ),
            server=server,
        )


@contextmanager
def _alarm(seconds: float) -> Iterator[Event]:
    """Give an event that is set after so many seconds, unless the block has ended by then."""
    over = Event()
    alarm = Timer(seconds, over.set)
    alarm.daemon = True
    alarm.start()
    try:
        yield over
    finally:
        alarm.cancel()


def _no_log(stream: Stream, data: bytes) -> None:
    """Keep no output: the answer is in the command's result."""
