"""Following a deployment until it ends, on any view."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deploy_manager.cli.deployments.waves import Course
from deploy_manager.cli.views.base import View
from deploy_manager.deployments.progress import FROM_THE_START, read
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, HostRun, State

POLL_SECONDS = 0.2
QUICK_POLL_SECONDS = 0.05
QUICK_FOR = 5.0
"""Seconds after a change of the rows, or the beginning, in which they are looked at more often:
the first line and the end of a short deployment are shown at once.
"""

NO_WORKER_AFTER = 5.0
"""Seconds in the queue after which the view says that no worker has taken the deployment."""


class Interrupts:
    """Remembers Ctrl-C until the next poll, instead of raising an exception anywhere."""

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
        # A KeyboardInterrupt could come in the middle of a query, or of drawing the table.
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = True


@contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt in this block, while a question waits for its answer."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Follower:
    """Shows the rows of a deployment as they change, from a cursor on."""

    def __init__(
        self,
        deployment_id: int,
        view: View,
        on_interrupt: Callable[[Deployment], bool],
        interrupts: Interrupts,
        is_over: Callable[[], bool] = lambda: False,
        after: int = FROM_THE_START,
    ) -> None:
        """`on_interrupt` is called after each Ctrl-C and returns whether to watch on.

        `is_over` returns whether work on it has stopped, whatever its state is. Rows at or before
        the cursor `after` are not shown.
        """
        self._deployment_id = deployment_id
        self._view = view
        self._on_interrupt = on_interrupt
        self._interrupts = interrupts
        self._is_over = is_over
        self._cursor = after
        self._changed = time.monotonic()
        self._queued_since: float | None = None
        self._warned = False
        self._waits_for: Message | str | None = None

    def follow(self) -> Deployment:
        """Return the deployment as it ended, or as it was when the watcher left."""
        runs = HostRun.objects.filter(deployment=self._deployment_id).order_by("pk")
        related = runs.select_related("deployment__environment__project")
        hosts = list(related.prefetch_related("steps"))
        self._view.begin(hosts)
        try:
            deployment = self._watch(Course(hosts))
            self._view.end(deployment)
        finally:
            self._view.close()
        return deployment

    def _watch(self, course: Course) -> Deployment:
        while True:
            # Asked before the rows are read: what was written until then is still shown.
            over = self._is_over()
            deployment = self._update()
            for line in course.turns(deployment):
                self._view.say(line)
            self._tell_what_it_waits_for(deployment)
            if over or not deployment.is_live:
                return deployment
            if self._interrupts.take() and not self._on_interrupt(deployment):
                return deployment
            self._warn_without_worker(deployment)
            time.sleep(self._pause())

    def _update(self) -> Deployment:
        # A page of changes has a limit, so that a long log is not loaded at once.
        more = True
        while more:
            progress = read(self._deployment_id, self._cursor)
            self._view.update(progress)
            if progress.cursor != self._cursor:
                self._changed = time.monotonic()
            self._cursor, more = progress.cursor, progress.more
        return progress.deployment

    def _pause(self) -> float:
        """Return the seconds until the next look."""
        is_quick = time.monotonic() - self._changed < QUICK_FOR
        return QUICK_POLL_SECONDS if is_quick else POLL_SECONDS

    def _tell_what_it_waits_for(self, deployment: Deployment) -> None:
        """Say once what a waiting deployment waits for, and again when that is something else."""
        if deployment.state != State.WAITING or deployment.message == self._waits_for:
            return
        # The first one was shown with the request.
        if self._waits_for is not None:
            self._view.remark(str(deployment.message))
            self._view.write("waiting", deployment=deployment.pk, message=deployment.message)
        self._waits_for = deployment.message

    def _warn_without_worker(self, deployment: Deployment) -> None:
        """Say once that no worker takes the deployment."""
        if deployment.state != State.QUEUED or self._warned:
            return
        # Not the row's own times: the clock of the database's machine may differ from ours.
        now = time.monotonic()
        self._queued_since = self._queued_since or now
        if now - self._queued_since > NO_WORKER_AFTER:
            self._warned = True
            self._view.say(
                f"No worker has taken it yet: is one running? {deployment.message}".strip()
                + " Waiting for one."
            )
