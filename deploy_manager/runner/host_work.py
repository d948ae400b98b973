"""A deployment on one server: its steps in order, and the truth about how they ended."""

import threading
import traceback
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_noop

from deploy_manager.exceptions import (
    Cancelled,
    CommandFailed,
    ConnectionLost,
    DeployManagerError,
)
from deploy_manager.hosts import OpenHost, Stream, open_host
from deploy_manager.logs import LineBuffer, cut_lines, mask_text
from deploy_manager.models import HostRun, Placement, State, Step
from deploy_manager.recipes import Site, get_recipe
from deploy_manager.runner.address import address_of
from deploy_manager.runner.writer import CHUNK_BYTES, Change, Output, Seen, Writer


class HostWork:
    """Runs the steps of one host, keeps its connection, and reports every change to the writer.

    It touches no database: whatever it needs of the rows is handed over at the start.
    """

    def __init__(self, run: HostRun, placement: Placement, site: Site, writer: Writer) -> None:
        self.run = run
        self.state = State.QUEUED
        self.message = ""
        self._steps = list(run.steps.all())
        self._placement = placement
        self._site = site
        self._address = address_of(placement.server)
        self._writer = writer
        self._host: OpenHost | None = None
        self._log = _StepLog(writer)

    @property
    def is_live(self) -> bool:
        return self.state.is_live

    def has_steps_in(self, phase: str) -> bool:
        return any(step.phase == phase for step in self._steps)

    def run_phase(self, phase: str) -> None:
        """Run this host's steps of a phase, up to the first that fails."""
        for step in self._steps:
            if step.phase == phase and self.is_live:
                self._run_step(step)
        self._look_what_serves()

    def stop(self, state: State, message: str) -> None:
        """End a host that is still live, with what is left of its steps.

        Where all of them succeeded it came through, whatever the reason to stop the others is.
        """
        if not self.is_live:
            return
        if all(step.state == State.SUCCEEDED for step in self._steps):
            state, message = State.SUCCEEDED, ""
        self.state, self.message = state, message
        for step in self._steps:
            if State(step.state).is_live:
                ended = State.CANCELLED if state is State.CANCELLED else State.SKIPPED
                self._end(step, ended, message)
        self._end(self.run, state, message)

    def close(self) -> None:
        """End a host that came through as succeeded, and hang up."""
        self.stop(State.SUCCEEDED, "")
        if self._host is not None:
            self._host.close()

    def _run_step(self, step: Step) -> None:
        self._begin(step)
        state, message, exit_code = self._outcome(step)
        self._log.end()
        message = mask_text(message)
        self._end(step, state, message, exit_code=exit_code)
        if state is not State.SUCCEEDED:
            self.stop(state, f"{step.title}: {message}")

    def _outcome(self, step: Step) -> tuple[State, str, int | None]:
        """Run a step. This is the border of a host: no error goes past it."""
        try:
            if self._writer.stop.is_set():
                raise Cancelled(gettext_noop("Cancelled before it began."))
            self._host = self._host or open_host(self._address, self._log, self._writer.stop)
            get_recipe(step.recipe).function(self._host, self._site)
        except Cancelled as error:
            return State.CANCELLED, str(error), None
        except ConnectionLost as error:
            return State.LOST, str(error), None
        except DeployManagerError as error:
            code = error.exit_code if isinstance(error, CommandFailed) else None
            return State.FAILED, str(error), code
        except (Exception, SystemExit) as error:
            self._log(Stream.OUR_OWN, traceback.format_exc().encode(errors="replace"))
            return State.FAILED, f"The recipe raised {type(error).__name__}: {error}", None
        return State.SUCCEEDED, "", 0

    def _begin(self, step: Step) -> None:
        started = {"state": State.RUNNING, "started_at": timezone.now()}
        if self.state is State.QUEUED:
            self.state = State.RUNNING
            self._writer.put(Change(self.run, started))
        step.state = State.RUNNING
        self._writer.put(Change(step, started))
        self._log.begin(step)

    def _end(self, row: HostRun | Step, state: State, message: str, **values: Any) -> None:
        row.state = state
        ended = {"state": state, "message": message, "finished_at": timezone.now(), **values}
        self._writer.put(Change(row, ended))

    def _look_what_serves(self) -> None:
        """Note which release `current` is: seen on the server, not taken from what we meant to do.

        Where nobody can look, what was seen last stands, with its time.
        """
        if self._host is None or self.state is State.LOST:
            return
        command = ["readlink", self._site.current_path]
        try:
            if self._writer.stop.is_set():
                with closing(open_host(self._address, _nowhere, threading.Event())) as host:
                    link = host.run(command, check=False, quiet=True)
            else:
                link = self._host.run(command, check=False, quiet=True)
        except DeployManagerError:
            return
        release = mask_text(link.stdout).strip().rpartition("/")[2]
        self._writer.put(Seen(self._placement, release, timezone.now()))


class _StepLog:
    """The sink of a host: whole masked lines of the running step, to the writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._buffers: dict[Stream, LineBuffer] = {}

    def begin(self, step: Step) -> None:
        with self._lock:
            self._step = step
            self._buffers = {stream: LineBuffer() for stream in Stream}

    def end(self) -> None:
        """Write what never ended with a line's end."""
        with self._lock:
            for stream, buffer in self._buffers.items():
                self._write(stream, buffer.flush())

    def __call__(self, stream: Stream, data: bytes) -> None:
        with self._lock:
            self._write(stream, self._buffers[stream].feed(data))

    def _write(self, stream: Stream, data: bytes) -> None:
        if self._step is None:
            return
        for piece in cut_lines(data, CHUNK_BYTES):
            self._writer.put(Output(self._step, stream, piece))


def _nowhere(stream: Stream, data: bytes) -> None:
    """The sink of a look round that belongs to no step."""


def stop_all(works: Sequence[HostWork], state: State, message: str) -> None:
    """End every host that is still live."""
    for work in works:
        work.stop(state, message)
