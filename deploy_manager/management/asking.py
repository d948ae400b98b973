"""What the doors of the command line share: who asks, and on what it is shown."""

import getpass
import os
import socket
from typing import IO

from rich.console import Console


def who_asks() -> str:
    """Return `user@host` of this process; the account's number where it has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def make_console(out: IO[str], *, no_color: bool = False, force_color: bool = False) -> Console:
    """Return a console that prints what it is told as it is told, in colours where they show."""
    if reconfigure := getattr(out, "reconfigure", None):
        # A terminal that can't show a letter shows another one: that ends no deployment's watch.
        reconfigure(errors="replace")
    return Console(
        file=out,
        no_color=no_color or None,
        force_terminal=force_color or None,
        highlight=False,
        markup=False,
        emoji=False,
    )
