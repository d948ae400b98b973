"""Watching a deployment until it ends, whatever it is shown on."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

from deploy_manager.cli.deployments.course import Course
from deploy_manager.deployments.progress import FROM_THE_START, Progress, read
from deploy_manager.models import Deployment, HostRun, State

POLL_SECONDS = 0.2
SAYS_NOBODY_TOOK_IT_AFTER = 5.0
"""Seconds a deployment is queued before the watcher is told that no worker took it."""


class View(Protocol):
    """What a deployment is shown on."""

    def begin(self, runs: Sequence[HostRun]) -> None:
        """Take the hosts with their steps, before anything is shown."""

    def show(self, progress: Progress) -> None:
        """Show what changed."""

    def say(self, text: str) -> None:
        """Tell something that stands in no row."""

    def end(self, deployment: Deployment) -> None:
        """Show how it ended, or where it stands when nobody watches any longer."""

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened."""
        return


class Interrupts:
    """Ctrl-C as a question to ask between two looks, instead of an exception anywhere."""

    def __init__(self) -> None:
        self._came = False

    def take(self) -> bool:
        """Whether one came since the last time this was asked."""
        came, self._came = self._came, False
        return came

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note them in this block; only the main thread gets any."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True


@contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt in this block, as while a question waits."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Follower:
    """Shows a deployment's rows as they change, by the cursor."""

    def __init__(
        self,
        deployment_id: int,
        view: View,
        on_interrupt: Callable[[Deployment], bool],
        interrupts: Interrupts,
        is_over: Callable[[], bool] = lambda: False,
        after: int = FROM_THE_START,
    ) -> None:
        """`on_interrupt` says whether to watch on, each time `interrupts` has noted one.

        `is_over` says that nobody is at work on it any more, whatever its state is. What stands
        at or before the cursor `after` is not shown.
        """
        self._deployment_id = deployment_id
        self._view = view
        self._on_interrupt = on_interrupt
        self._interrupts = interrupts
        self._is_over = is_over
        self._cursor = after
        self._queued_since: float | None = None
        self._has_told = False

    def follow(self) -> Deployment:
        """Return the deployment as it ended, or as it stood when the watcher left it."""
        runs = HostRun.objects.filter(deployment=self._deployment_id).order_by("pk")
        related = runs.select_related("deployment__environment__project")
        known = list(related.prefetch_related("steps"))
        self._view.begin(known)
        try:
            deployment = self._watch(Course(known))
            self._view.end(deployment)
        finally:
            self._view.close()
        return deployment

    def _watch(self, course: Course) -> Deployment:
        while True:
            over = self._is_over()
            deployment = self._show_what_is_there()
            for words in course.turns(deployment):
                self._view.say(words)
            if over or not deployment.is_live:
                return deployment
            if self._interrupts.take() and not self._on_interrupt(deployment):
                return deployment
            self._tell_if_nobody_takes_it(deployment)
            time.sleep(POLL_SECONDS)

    def _show_what_is_there(self) -> Deployment:
        more = True
        while more:
            progress = read(self._deployment_id, self._cursor)
            self._view.show(progress)
            self._cursor, more = progress.cursor, progress.more
        return progress.deployment

    def _tell_if_nobody_takes_it(self, deployment: Deployment) -> None:
        if deployment.state != State.QUEUED or self._has_told:
            return
        now = time.monotonic()
        self._queued_since = self._queued_since or now
        if now - self._queued_since > SAYS_NOBODY_TOOK_IT_AFTER:
            self._has_told = True
            self._view.say(
                f"No worker has taken it yet: is one running? {deployment.message}".strip()
                + " Waiting for one."
            )
