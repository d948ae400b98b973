"""Work that is done once, however many threads and processes want its outcome at the same time."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from deploy_manager.exceptions import DeployManagerError, WheelError

Outcome = TypeVar("Outcome")


def once(lock: Path, recall: Callable[[], Outcome | None], make: Callable[[], Outcome]) -> Outcome:
    """Return what was made before, or make it; whoever wants it meanwhile waits.

    Who waited for somebody who failed fails for the same reason, instead of trying again at once.
    Raises what `make` raises, and WheelError.
    """
    if (found := recall()) is not None:
        return found
    began = time.time_ns()
    with _alone(lock):
        if (found := recall()) is not None:
            return found
        failure = lock.with_suffix(".failed")
        _raise_if_failed_since(failure, began)
        try:
            return make()
        except DeployManagerError as error:
            failure.write_text(f"{time.time_ns()}\n{error}", encoding="utf-8")
            raise


def _raise_if_failed_since(failure: Path, began: int) -> None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        moment, _newline, reason = failure.read_text(encoding="utf-8").partition("\n")
        if int(moment) >= began:
            raise WheelError(reason)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
