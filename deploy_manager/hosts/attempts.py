"""Trying to connect: again where that may help, and no longer than somebody wants it."""

import random
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Thread
from typing import Protocol, TypeVar

from deploy_manager.exceptions import Cancelled
from deploy_manager.hosts.dial import NotNow
from deploy_manager.hosts.running import TICK

TRIES = 4
"""sshd turns connections away at random while many are being made (MaxStartups): ask again."""

FIRST_DELAY = 0.4


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T")
C = TypeVar("C", bound=Closable)


def with_second_tries(attempt: Callable[[], T], cancelled: Event) -> T:
    """Repeat what was turned away before anything began, after a random and growing while."""
    for number in range(TRIES - 1):
        try:
            return attempt()
        except NotNow:
            if cancelled.wait(FIRST_DELAY * 2**number * random.uniform(0.5, 1.0)):  # noqa: S311
                raise Cancelled("Cancelled while connecting.") from None
    return attempt()


def unless_cancelled(open_it: Callable[[], C], cancelled: Event) -> C:
    """Return what `open_it` returns; on a cancel leave it to end, and close, by itself."""
    future: Future[C] = Future()
    Thread(target=_fulfil, args=(future, open_it), daemon=True).start()
    while not future.done():
        if cancelled.is_set():
            future.add_done_callback(_close_result)
            raise Cancelled("Cancelled while connecting.")
        with suppress(TimeoutError):
            future.exception(TICK)
    return future.result()


def _fulfil(future: "Future[C]", open_it: Callable[[], C]) -> None:
    try:
        future.set_result(open_it())
    except BaseException as error:
        future.set_exception(error)


def _close_result(future: "Future[C]") -> None:
    if future.exception() is None:
        future.result().close()
