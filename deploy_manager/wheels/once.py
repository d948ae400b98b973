"""Do work once, however many threads and processes want its result at the same time."""

import contextlib
import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from deploy_manager.exceptions import DeployManagerError, WheelError

Outcome = TypeVar("Outcome")


def once(lock: Path, recall: Callable[[], Outcome | None], make: Callable[[], Outcome]) -> Outcome:
    """Return what was made before, or make it; other callers wait meanwhile.

    If it fails, the callers that waited fail for the same reason, instead of trying one after the
    other. Raises what `make` raises, and WheelError.
    """
    if (found := recall()) is not None:
        return found
    began = time.time_ns()
    lock.parent.mkdir(parents=True, exist_ok=True)
    # flock belongs to the opened file, so it also keeps threads apart, and it ends with a process.
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if (found := recall()) is not None:
            return found
        failure = lock.with_suffix(".failed")
        with contextlib.suppress(FileNotFoundError, ValueError):
            failed_at, _newline, reason = failure.read_text(encoding="utf-8").partition("\n")
            # Not one of before: whoever comes later tries anew.
            if int(failed_at) >= began:
                raise WheelError(reason)
        try:
            return make()
        except DeployManagerError as error:
            failure.write_text(f"{time.time_ns()}\n{error}", encoding="utf-8")
            raise
