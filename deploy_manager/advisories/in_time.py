"""Doing things side by side, and leaving behind whatever takes too long."""

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


def each_in_time(
    work: Callable[[Item], Result], items: Iterable[Item], seconds: float, at_once: int = 1
) -> dict[Item, "Future[Result]"]:
    """Return what came of `work` for each item, by a result or an exception, within `seconds`.

    What is missing took longer: it goes on alone, and what had not begun never begins.
    """
    futures: dict[Item, Future[Result]] = {item: Future() for item in items}
    waiting: SimpleQueue[Item] = SimpleQueue()
    for item in futures:
        waiting.put(item)

    def work_off() -> None:
        with suppress(Empty):
            while True:
                item = waiting.get_nowait()
                future = futures[item]
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    future.set_result(work(item))
                except Exception as error:
                    future.set_exception(error)

    # Not of a ThreadPoolExecutor: a process that ends waits for its threads, and an address that
    # sends a byte now and then would keep a worker from ending.
    for _ in range(min(at_once, len(futures))):
        Thread(target=work_off, daemon=True).start()
    done, late = wait(futures.values(), timeout=seconds)
    for future in late:
        future.cancel()
    return {item: future for item, future in futures.items() if future in done}
