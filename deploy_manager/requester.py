"""The person or account that a deployment is requested by on a command line."""

import os
import pwd
import re
import socket

NAMES_IN_ENVIRONMENT = ("SUDO_USER", "LOGNAME", "USER")
"""Variables that name the person at the keyboard. Anybody may set them to anything."""

MAX_NAME_LENGTH = 64


def requester_name() -> str:
    """Return `account@host` of this process, as the operating system knows it.

    A different name in the environment is added: `root@host (says alice)`. An account that has no
    name is shown by its number.
    """
    number = os.getuid()
    try:
        account = pwd.getpwuid(number).pw_name
    except KeyError:
        account = str(number)
    names = (os.environ.get(name, "") for name in NAMES_IN_ENVIRONMENT)
    claimed = next((name for name in names if name and name != account), "")
    # The name goes into rows and terminals: what no account's name has is replaced.
    shown = re.sub(r"[^\w.@\\$-]", "?", claimed)[:MAX_NAME_LENGTH]
    return f"{account}@{socket.gethostname()}" + (f" (says {shown})" if shown else "")
