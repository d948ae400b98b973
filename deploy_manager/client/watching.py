"""Watching a deployment to its end, whatever happens to the manager meanwhile."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deploy_manager.client.connection import Connection
from deploy_manager.client.exits import Refused
from deploy_manager.client.views import Row, View

QUESTION = "Leave it running (l), cancel it (c) or watch on (w)? [w] "
FROM_THE_START = -1
SHORTEST_PAUSE, LONGEST_PAUSE = 0.4, 2.0
"""Seconds between two questions: longer and longer while nothing happens."""


class Interrupts:
    """Remembers Ctrl-C instead of raising an exception anywhere."""

    def __init__(self) -> None:
        self._came = False

    def take(self) -> bool:
        """Return whether Ctrl-C was pressed since the last call."""
        came, self._came = self._came, False
        return came

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Remember Ctrl-C in this block."""
        # Python lets only the main thread set a handler, and calls it only there.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A KeyboardInterrupt could come between a request and its number, or while it is drawn.
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True


@contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt in this block: while somebody answers, or nobody does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Watcher:
    """Shows the events of a deployment from a cursor on."""

    def __init__(
        self,
        connection: Connection,
        view: View,
        number: int,
        interrupts: Interrupts,
        after: int = FROM_THE_START,
        waits_for: object = None,
    ) -> None:
        """`waits_for` is what was said already of why it waits."""
        self._connection = connection
        self._view = view
        self._number = number
        self._interrupts = interrupts
        self._cursor = after
        self._waits_for = waits_for
        self._pause = SHORTEST_PAUSE
        self._has_more = True
        self._summary: Row = {}

    def watch(self) -> Row:
        """Return the summary of how it ended; nothing if the watcher left before.

        Raises ClientError if the manager stays away, or does not let it be watched.
        """
        self._view.begin()
        try:
            with self._connection.patient():
                while self._goes_on():
                    continue
        finally:
            self._view.close()
        return self._summary

    def _goes_on(self) -> bool:
        """Read once; return whether to read again."""
        try:
            with interruptible():
                answer = self._read()
        except KeyboardInterrupt:
            # Nothing is lost: what the answer had comes again with the next.
            return self._stays()
        for event in answer["events"]:
            self._show(event)
        if answer["events"]:
            self._pause = SHORTEST_PAUSE
        self._cursor, self._has_more = answer["cursor"], answer["more"]
        if not self._has_more and not answer["live"]:
            return False
        return not self._interrupts.take() or self._stays()

    def _show(self, event: Row) -> None:
        if event.get("event") == "waiting":
            # It comes with each change of the row; it is told when it waits for something else.
            if event.get("message") == self._waits_for:
                return
            self._waits_for = event.get("message")
        self._view.event(event)
        if event.get("event") == "summary":
            self._summary = event

    def _read(self) -> Any:
        """Return the next page of events, after a pause if the last one was all there was."""
        if not self._has_more:
            time.sleep(self._pause)
            self._pause = min(self._pause * 1.5, LONGEST_PAUSE)
        return self._connection.get("deployments", self._number, "events", after=self._cursor)

    def _stays(self) -> bool:
        def cancel() -> None:
            self._connection.post("deployments", self._number, "cancel")

        return ask_whether_to_stay(f"#{self._number}", cancel, self._view)


def ask_whether_to_stay(name: str, cancel: Callable[[], None], view: View) -> bool:
    """After Ctrl-C, ask whether to watch on, leave or cancel; return whether to watch on.

    Without a person to answer, and on a second Ctrl-C, the watcher leaves.
    """
    answer = "l"
    if view.can_ask:
        try:
            with interruptible():
                answer = view.ask(QUESTION).strip().lower()[:1]
        except (KeyboardInterrupt, EOFError):
            pass
    if answer == "c":
        return _cancels(name, cancel, view)
    if answer == "l":
        view.say(f"{name} goes on without you; the admin shows how it ends.")
        return False
    return True


def _cancels(name: str, cancel: Callable[[], None], view: View) -> bool:
    """Cancel, and return whether to watch how it ends."""
    try:
        with interruptible():
            cancel()
    except Refused as error:
        view.say(str(error))  # it has ended meanwhile
    except KeyboardInterrupt:
        view.say(f"Whether {name} was cancelled is not known: the manager does not answer.")
        return False
    else:
        view.say("Cancelling: what runs is being stopped.")
    return True
