"""The one thread that writes a running deployment's rows.

Hosts report from many threads; one queue brings order, one transaction for each batch brings
speed, and the claim's token in each transaction makes sure that only the holder writes.
"""

import logging
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any

from django.db import connection, transaction

from deploy_manager.exceptions import ClaimLost
from deploy_manager.models import LIVE, Deployment, HostRun, LogChunk, Placement, Release, Step

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
BATCH_SECONDS = 0.25
BEAT_SECONDS = 1.0
QUEUE_LENGTH = 256


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

    @property
    def host_run_id(self) -> int:
        return self.step.host_run_id

    def continues(self, before: "Output") -> bool:
        """Whether this goes on where `before` ended, and both fit into one chunk."""
        return (before.step.pk, before.stream) == (self.step.pk, self.stream) and len(
            before.data
        ) + len(self.data) <= CHUNK_BYTES


@dataclass(frozen=True)
class Seen:
    """Which release was seen to be current on a server; blank: none is."""

    placement: Placement
    release: str
    at: datetime


Event = Change | Output | Seen


class Writer(AbstractContextManager["Writer"]):
    """Takes events from any thread and writes them in the order they came.

    `stop` is set when somebody asked to cancel, or when nothing can be written any more. Leaving
    the context writes what is left; it raises ClaimLost, or what the database said, where not
    everything could be written.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.stop = threading.Event()
        self._deployment = deployment
        self._events: Queue[Event | None] = Queue(QUEUE_LENGTH)
        self._error: Exception | None = None
        self._looked_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"writer of {deployment.pk}")

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

        After an error nothing more is taken: `stop` is set then.
        """
        while self._error is None:
            try:
                self._events.put(event, timeout=BEAT_SECONDS)
            except Full:
                continue
            return

    def _run(self) -> None:
        try:
            while self._write_some():
                pass
        except Exception as error:
            # The border of this thread: whoever leaves the context is told.
            logger.warning("Deployment %s can't be written: %s", self._deployment.pk, error)
            self._error = error
            self.stop.set()
        finally:
            connection.close()

    def _write_some(self) -> bool:
        """Write a batch, beat, and look whether to stop; False after the last batch."""
        batch, is_last = self._collect()
        self._write(batch)
        if time.monotonic() - self._looked_at > BEAT_SECONDS:
            self._looked_at = time.monotonic()
            if Deployment.objects.filter(pk=self._deployment.pk).exclude(cancel_requested_at=None):
                self.stop.set()
        return not is_last

    def _collect(self) -> tuple[list[Event], bool]:
        """Return events for one transaction: a quarter of a second's, or one chunk's worth."""
        batch: list[Event] = []
        size, wait = 0, BEAT_SECONDS
        deadline = time.monotonic() + BEAT_SECONDS
        while size < CHUNK_BYTES and wait > 0:
            try:
                event = self._events.get(timeout=wait)
            except Empty:
                break
            if event is None:
                return batch, True
            if not batch:
                deadline = time.monotonic() + BATCH_SECONDS
            batch.append(event)
            size += len(event.data) if isinstance(event, Output) else 0
            wait = deadline - time.monotonic()
        return batch, False

    def _write(self, batch: list[Event]) -> None:
        rows = _join([event for event in batch if not isinstance(event, Seen)])
        with transaction.atomic():
            position = self._deployment.advance(len(rows))
            if position is None:
                raise ClaimLost
            numbered = list(enumerate(rows, position + 1))
            _write_output(self._deployment, numbered)
            _write_changes(numbered)
            for event in batch:
                if isinstance(event, Seen):
                    _write_seen(self._deployment, event)


def _join(events: list[Change | Output]) -> list[Change | Output]:
    """Join what a step printed on one stream with nothing else of its host in between."""
    rows: list[Change | Output] = []
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


def _write_output(deployment: Deployment, rows: list[tuple[int, Change | Output]]) -> None:
    LogChunk.objects.bulk_create(
        LogChunk(
            deployment=deployment,
            host_run_id=row.host_run_id,
            step=row.step,
            position=position,
            stream=row.stream,
            data=row.data,
        )
        for position, row in rows
        if isinstance(row, Output)
    )


def _write_changes(rows: list[tuple[int, Change | Output]]) -> None:
    for position, row in rows:
        if isinstance(row, Change):
            live = type(row.row).objects.filter(pk=row.row.pk, state__in=LIVE)
            live.update(position=position, **row.values)


def _write_seen(deployment: Deployment, event: Seen) -> None:
    release = Release.objects.filter(
        environment_id=deployment.environment_id, name=event.release
    ).first()
    Placement.objects.filter(pk=event.placement.pk).update(active_release=release, seen_at=event.at)
