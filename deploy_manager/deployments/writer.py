"""The one thread that writes a running deployment's rows.

Hosts report from many threads: one queue keeps their order, one transaction per batch keeps it
fast, and the claim's token in each transaction makes sure that only the holder writes.
If the database is away for some seconds nothing is lost: the batch is written again, once.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Case, F, Value, When

from deploy_manager.deployments.rollout import Verdict, arrive
from deploy_manager.deployments.shutdown import process_ends
from deploy_manager.logs import cut_lines
from deploy_manager.masking import carried
from deploy_manager.messages import Message
from deploy_manager.models import (
    LIVE,
    Deployment,
    HostRun,
    LogChunk,
    Placement,
    Release,
    Shard,
    State,
    Step,
)
from deploy_manager.models.moments import MomentField
from deploy_manager.models.places import forget_moved
from deploy_manager.models.runs import end_hosts
from deploy_manager.models.transactions import brief_transaction

logger = logging.getLogger(__name__)
T = TypeVar("T")

CHUNK_BYTES = 64 * 1024
BATCH_SECONDS = 0.25  # short enough for a live log, long enough for few transactions
SOON_SECONDS = 0.03  # what several hosts do at the same time still shares a transaction
BEAT_SECONDS = 1.0  # a tenth of the lease, so that a slow commit or two lose no claim
QUEUE_LENGTH = 256  # bounds the memory that output takes: a full queue slows the hosts down
PATIENCE = 7.0
"""Seconds the database may be away. Less than the lease: after that another may hold the claim."""


@dataclass(frozen=True)
class Change:
    """New values of a host run or a step."""

    row: HostRun | Step
    values: dict[str, Any]

    @property
    def host_run_id(self) -> int:
        return self.row.pk if isinstance(self.row, HostRun) else self.row.host_run_id


@dataclass(frozen=True)
class Output:
    """Whole lines that a step printed."""

    step: Step
    stream: int
    data: bytes
    resume_cursor: dict[str, int]
    """How much of the step's output is stored with this; see hosts.guarded.ResumeCursor."""

    @property
    def host_run_id(self) -> int:
        return self.step.host_run_id

    def continues(self, before: "Output") -> bool:
        """Whether this goes on where `before` ended, and both fit into one chunk."""
        is_same = (before.step.pk, before.stream) == (self.step.pk, self.stream)
        return is_same and len(before.data) + len(self.data) <= CHUNK_BYTES


@dataclass(frozen=True)
class HostEnd:
    """A host that ended, with what is left of its steps."""

    run: HostRun
    state: State
    message: Message
    at: datetime

    @property
    def host_run_id(self) -> int:
        return self.run.pk


@dataclass(frozen=True)
class Seen:
    """The release that was seen to be current on a server (blank: none), and the complete ones."""

    placement: Placement
    release: str
    complete: tuple[str, ...]
    at: datetime
    activated_at: datetime
    """When that release was made current, or, if that is unknown, was first seen to be."""


@dataclass(frozen=True)
class Errand:
    """Something else for the writing thread to do, once all that came before it is written."""

    do: Callable[[], Any]
    done: "Future[Any]" = field(default_factory=Future)


Row = Change | Output | HostEnd
"""Events with a position of their own in the deployment's sequence."""

Event = Row | Seen | Errand


class Writer(AbstractContextManager["Writer"]):
    """Takes events from any thread and writes them in the order they came.

    `stop` is set when a cancellation is requested. `leave` is set when this process ends, or can't
    write any more: what runs on servers is then left running for the worker that takes it over.
    Leaving the context writes what is left; it raises ClaimLost, or the database's error, if not
    everything could be written.
    """

    def __init__(self, held: Shard) -> None:
        self.stop = threading.Event()
        self.leave = threading.Event()
        self._held = held
        self._deployment = held.deployment
        self._batch = 0
        self._events: Queue[Event | None] = Queue(QUEUE_LENGTH)
        self._error: Exception | None = None
        self._looked_at = 0.0
        self._wrote_at = 0.0
        self._is_over = False
        # It writes down what hosts' threads report: with the masks of this one.
        self._thread = threading.Thread(target=carried(self._run), name=f"writer of {held}")

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def put(self, event: Event | None) -> None:
        """Hand in an event, None as the last one; waits while the database is behind.

        After an error, or once the shard has gone home, nothing more is taken.
        """
        # No wait without end: the thread may die of an error while the queue is full.
        while self._error is None and not self._is_over:
            try:
                self._events.put(event, timeout=BEAT_SECONDS)
            except Full:
                continue
            return

    def drain(self) -> None:
        """Wait until all that was handed in is written, and beat. Raises what stops the writer."""
        self._send(Errand(lambda: None))

    def arrive(self, stage: int) -> Verdict:
        """Write what is left of a stage and arrive at its end; see rollout.arrive.

        If the shard then goes home nothing more is written, not even a heartbeat.
        Raises ClaimLost, or what stops the writer.
        """

        def arrive_once() -> Verdict:
            verdict = arrive(self._held, stage)
            # Set on the writing thread: no batch may come between, for the shard is free by now.
            self._is_over = verdict.stage is None
            return verdict

        verdict: Verdict = self._send(Errand(arrive_once))
        return verdict

    def _send(self, errand: Errand) -> Any:
        self.put(errand)
        while not errand.done.done():
            wait([errand.done], BEAT_SECONDS)
            if self._error is not None and not errand.done.done():
                raise self._error
        return errand.done.result()

    def still_holds(self) -> bool:
        """Whether this worker still holds the claim, looked up now."""
        try:
            self.drain()
        except Exception:
            # If the database can't confirm the claim it counts as lost; __exit__ raises the reason.
            return False
        return True

    def _run(self) -> None:
        try:
            while self._write_some():
                pass
        except Exception as error:
            # The border of this thread: the error is raised again by __exit__.
            logger.warning("%s can't be written: %s", self._held, error)
            self._error = error
            self.leave.set()
        finally:
            connection.close()  # Django's connections are per thread, and this one ends

    def _write_some(self) -> bool:
        """Write a batch, which is a heartbeat too, and look whether to stop; False at the end."""
        batch, is_last = self._collect()
        self._write(batch)
        if self._is_over:
            return False
        if process_ends.is_set():
            self.leave.set()
        # At most once a beat: under load there are many batches a second.
        if time.monotonic() - self._looked_at > BEAT_SECONDS:
            self._looked_at = time.monotonic()
            if Deployment.objects.filter(pk=self._deployment.pk).exclude(cancel_requested_at=None):
                self.stop.set()
        return not is_last

    def _collect(self) -> tuple[list[Event], bool]:
        """Return the events of one transaction, and whether they are the last ones.

        They are those of a quarter of a second, or as many as fill a chunk. After a pause the
        first ones are written almost at once: someone waits for the first line.
        """
        batch: list[Event] = []
        # Without events the batch stays empty for a beat, and is written as a heartbeat alone.
        size, left = 0, BEAT_SECONDS
        deadline = time.monotonic() + BEAT_SECONDS
        while size < CHUNK_BYTES and left > 0:
            try:
                event = self._events.get(timeout=left)
            except Empty:
                break
            if event is None:
                return batch, True
            if not batch:
                soon = time.monotonic() + SOON_SECONDS
                deadline = max(soon, self._wrote_at + BATCH_SECONDS)
            batch.append(event)
            if isinstance(event, Errand):
                break  # a host's thread waits for it
            size += len(event.data) if isinstance(event, Output) else 0
            left = deadline - time.monotonic()
        return batch, False

    def _write(self, batch: list[Event]) -> None:
        """Write a batch, then do the errand behind it. Raises ClaimLost."""
        self._batch += 1
        self._patiently(lambda: self._write_once(batch))
        self._wrote_at = time.monotonic()
        for event in batch:
            if isinstance(event, Errand):
                event.done.set_result(self._patiently(event.do))

    def _patiently(self, write: Callable[[], T]) -> T:
        """Write to the database, again if it went away in between."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return write()
            except (OperationalError, InterfaceError):
                connection.close()  # Django would go on with the broken one
                if time.monotonic() > until:
                    raise
                time.sleep(BATCH_SECONDS)

    def _write_once(self, batch: list[Event]) -> None:
        rows = _cut(_join([event for event in batch if isinstance(event, Row)]))
        with brief_transaction():
            if self._held.held().filter(batch=self._batch).exists():
                return  # this is a second try: the connection died, but after the commit
            sequence = self._held.advance(len(rows), batch=self._batch)
            numbered = list(enumerate(rows, sequence + 1))
            _write_output(self._deployment, numbered)
            _write_changes(numbered)
            if seen := [event for event in batch if isinstance(event, Seen)]:
                _write_seen(self._deployment, seen)


def _join(events: list[Row]) -> list[Row]:
    """Join what a step printed on one stream with nothing else of its host in between."""
    rows: list[Row] = []
    last_of: dict[int, int] = {}
    for event in events:
        index = last_of.get(event.host_run_id)
        before = rows[index] if index is not None else None
        if isinstance(event, Output) and isinstance(before, Output) and event.continues(before):
            rows[last_of[event.host_run_id]] = replace(event, data=before.data + event.data)
            continue
        last_of[event.host_run_id] = len(rows)
        rows.append(event)
    return rows


def _cut(rows: Iterable[Row]) -> list[Row]:
    """Cut output that is longer than a chunk; its pieces are written in one transaction."""
    cut: list[Row] = []
    for row in rows:
        if isinstance(row, Output):
            cut += [replace(row, data=piece) for piece in cut_lines(row.data, CHUNK_BYTES)]
        else:
            cut.append(row)
    return cut


def _write_output(deployment: Deployment, rows: list[tuple[int, Row]]) -> None:
    LogChunk.objects.bulk_create(
        LogChunk(
            deployment=deployment,
            host_run_id=row.host_run_id,
            step=row.step,
            sequence=sequence,
            stream=row.stream,
            data=row.data,
        )
        for sequence, row in rows
        if isinstance(row, Output)
    )


def _write_changes(rows: list[tuple[int, Row]]) -> None:
    """Write how rows changed: one UPDATE for all that a batch says of a row.

    The last value of each field stands, at the last position, as if each were written in its turn.
    """
    # Of each step the last one, which stands for all before it.
    cursors = {row.step.pk: row.resume_cursor for _position, row in rows if isinstance(row, Output)}
    waiting: dict[tuple[type, int], tuple[int, Change]] = {}
    for position, row in rows:
        if isinstance(row, Change):
            key = type(row.row), row.row.pk
            before = waiting[key][1].values if key in waiting else {}
            if not State(before.get("state", State.RUNNING)).is_live:
                continue  # refused, as it would be by the row
            waiting[key] = position, replace(row, values={**before, **row.values})
        elif isinstance(row, HostEnd):
            # Before its end, which is final.
            of_it = [key for key, each in waiting.items() if each[1].host_run_id == row.host_run_id]
            for key in of_it:
                _write_change(*waiting.pop(key), cursors)
            state, message = row.state, row.message
            end_hosts([row.run], state, message, finished_at=row.at, sequence=position)
    for each in waiting.values():
        _write_change(*each, cursors)
    for step, cursor in cursors.items():
        Step.objects.filter(pk=step).update(resume_cursor=cursor)


def _write_change(position: int, change: Change, cursors: dict[int, dict[str, int]]) -> None:
    """Write the new values of a row that is live, and how far its output is stored."""
    values, pk = change.values, change.row.pk
    cursor = cursors.get(pk) if isinstance(change.row, Step) else None
    if cursor is not None:
        values = {**values, "resume_cursor": cursor}
    # An end is final, whatever the host's thread still reports.
    live = type(change.row)._default_manager.filter(pk=pk, state__in=LIVE)
    if live.update(sequence=position, **values) and cursor is not None:
        del cursors[pk]


def _write_seen(deployment: Deployment, events: Iterable[Seen]) -> None:
    # Of each placement what was seen last.
    latest = {event.placement.pk: event for event in events}
    names = {event.release for event in latest.values()}
    releases = Release.objects.filter(environment_id=deployment.environment_id, name__in=names)
    by_name = dict(releases.values_list("name", "pk"))
    forget_moved(latest)
    for pk, event in latest.items():
        release = by_name.get(event.release)
        # Only a change: the time says since when a release is current, not when it was seen last.
        stays = When(active_release=release, then=F("activated_at"))
        since = Case(stays, default=Value(event.activated_at), output_field=MomentField())
        place = event.placement.place
        # Moved meanwhile, it serves something else, or nothing: what was seen is not true there.
        Placement.objects.filter(pk=pk).at(place).update(
            active_release=release,
            activated_at=since if release else None,
            complete_releases=list(event.complete),
            seen_at=event.at,
            seen_in=place,
        )
