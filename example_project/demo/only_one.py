"""One demo at a time in one folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AnotherDemoRuns(Exception):  # noqa: N818  named after the event
    """Tells its process."""


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, whose end frees it. Raises AnotherDemoRuns."""
    with (folder / "demo.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AnotherDemoRuns(
                f"A demo runs in {folder} already, process {file.read()}: end it by Ctrl-C there."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
