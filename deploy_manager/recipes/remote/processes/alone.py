"""The lock of the deploy path, which the guard of a deployment holds as long as that runs.

Who starts processes between deployments takes it, too: so two never do, and none in the middle of a
deployment. A deployment that begins meanwhile waits some seconds for it: see the guard's relay.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .place import Place, write


class Busy(Exception):
    """A deployment, or another start, has the lock."""


@contextmanager
def alone_on(place: Place) -> Iterator[None]:
    """Hold the lock, and say for what. Raises Busy at once if it is held."""
    lock = os.open(os.path.join(place.tools, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(f"{place.path} is in use: nothing is started meanwhile.") from None
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        what = {"what": "the start of what was down", "who": "deploy_manager", "since": since}
        write(os.path.join(place.tools, "holder.json"), json.dumps({**what, "is_brief": True}))
        yield
    finally:
        os.close(lock)
