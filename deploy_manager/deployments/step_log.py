"""The log of a step: a host's output as whole, masked lines, and how much of it is stored."""

import threading
from dataclasses import asdict

from deploy_manager.deployments.writer import Output, Writer
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.guarded import ResumeCursor
from deploy_manager.logs import LineBuffer, mask
from deploy_manager.models import Step

FIELDS = {Stream.OUR_OWN: "own", Stream.STDOUT: "out", Stream.STDERR: "err"}


class StepLog:
    """The sink of a host. Each piece says where reading has to resume after it.

    Bytes of a line that is not complete yet do not count: who takes over reads them again.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._stored = ResumeCursor()
        self._command = 0
        self._fed: dict[Stream, int] = {}
        self._buffers: dict[Stream, LineBuffer] = {}

    def begin(self, step: Step, stored: ResumeCursor) -> None:
        """Take a step's output from where the stored part of it ends."""
        with self._lock:
            self._step = step
            self._stored, self._command = stored, stored.command
            self._fed = {stream: getattr(stored, name) for stream, name in FIELDS.items()}
            self._buffers = {stream: LineBuffer() for stream in Stream}

    def begin_command(self, index: int) -> None:
        """Note that the output to come is that of the step's next command."""
        with self._lock:
            # A step that is resumed goes through its commands again: these are stored already.
            if index <= self._stored.command:
                return
            self._flush()
            self._command = index
            self._fed |= {Stream.STDOUT: 0, Stream.STDERR: 0}

    def note(self, line: bytes) -> None:
        """Take a line that a second run of the step would not print: it moves no cursor."""
        with self._lock:
            if self._step is not None:
                self._writer.put(
                    Output(self._step, Stream.OUR_OWN, mask(line), self._resume_cursor())
                )

    def end(self) -> None:
        """Write a last line without a line feed."""
        with self._lock:
            self._flush()

    def __call__(self, stream: Stream, data: bytes) -> None:
        with self._lock:
            if self._step is None:
                return
            self._fed[stream] += len(data)
            self._write(stream, self._buffers[stream].feed(data))

    def _flush(self) -> None:
        for stream, buffer in self._buffers.items():
            self._write(stream, buffer.flush())

    def _write(self, stream: Stream, data: bytes) -> None:
        if self._step is not None and data:
            self._writer.put(Output(self._step, stream, data, self._resume_cursor()))

    def _resume_cursor(self) -> dict[str, int]:
        done = {
            name: self._fed[stream] - self._buffers[stream].held for stream, name in FIELDS.items()
        }
        return asdict(ResumeCursor(self._command, **done))
