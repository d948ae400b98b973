"""A lock on the demo's folder: one demo at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AnotherDemoRuns(Exception):  # noqa: N818  named after the event
    """Another process holds the folder; the message names it."""


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Lock the folder. Raises AnotherDemoRuns.

    The kernel releases the lock when this process ends, however it ends.
    """
    with (folder / "demo.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AnotherDemoRuns(
                f"A demo already runs in {folder}, process {file.read()}: stop it with Ctrl-C."
            ) from None
        # Appending, a truncated file begins at 0 again: the id of an earlier process is gone.
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
