"""An end in time for whatever is done with a host, connecting included."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Timer


@contextmanager
def within(seconds: float) -> Iterator[Event]:
    """Yield an event that is set after so many seconds: hosts that were opened with it then stop.

    Raises Cancelled then, as they do.
    """
    over = Event()
    # Not the command's own timeout: connecting, maybe through a gateway, has to count, too.
    alarm = Timer(seconds, over.set)
    alarm.daemon = True
    alarm.start()
    try:
        yield over
    finally:
        alarm.cancel()
