"""A host whose commands are run by a guard on the server.

The connection may be lost and reopened, and another worker may take over: a command is named by its
step and its index in it, and never run twice.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import (
    Cancelled,
    ClaimLost,
    CommandTimedOut,
    ConnectionLost,
    HandedOver,
    HostUnreachable,
    NeverBegun,
    RecipeError,
)
from deploy_manager.hosts import shell
from deploy_manager.hosts.address import Address, Sink, Stream
from deploy_manager.hosts.base import UNSHOWN, ShellHost
from deploy_manager.hosts.guard_line import GuardLine, Work, open_line
from deploy_manager.hosts.guard_running import (
    CommandRequest,
    GuardedRunning,
    reply_to_put,
    wait_until_killed,
)
from deploy_manager.hosts.opening import bare_host
from deploy_manager.hosts.remote.guard.frames import Kind
from deploy_manager.hosts.running import Running, Watch, no_sink
from deploy_manager.recipes.host import Command, Result

RECONNECTS_FOR = 60.0
"""Seconds to try to reach a server again before its state is called unknown."""

MOST_SENDS = 5
"""How often a file is sent that the server does not confirm."""

DIES_WITHIN = 10.0
"""Seconds within which a first connection that fails was lost, rather than hanging."""

RECONNECTS_TO_STOP_FOR = 10.0
FIRST_DELAY, LONGEST_DELAY = 0.5, 5.0
LOOK = (0, 0)
"""Step and index of commands that only look: the steps of a deployment count from 1."""

LOOKS_FOR = 20.0
"""Seconds, as all times here."""

SHARED = 1_000_000
"""The index of the command of a step that later steps wait for, too: after all of its others."""


@dataclass(frozen=True)
class ResumeCursor:
    """How far a step's log is stored: the command, and bytes of each stream.

    `own` counts our own lines in the whole step; `out` and `err` the output of that command.
    """

    command: int = 0
    own: int = 0
    out: int = 0
    err: int = 0


class Journal(Protocol):
    """The sink of a guarded host."""

    def __call__(self, stream: Stream, data: bytes) -> None:
        """Take output that has not been stored before."""

    def note(self, line: bytes) -> None:
        """Take a line that is not part of the output."""

    def begin_command(self, index: int) -> None:
        """Attribute the output that follows to the step's command of this index."""


class GuardedHost(ShellHost):
    """A server, or this machine, through its guard."""

    _is_known_only = False

    def __init__(
        self,
        name: str,
        open_: Callable[[Event], GuardLine],
        sink: Journal,
        cancelled: Event,
        may_go_on: Callable[[], bool],
        handed_over: Event,
    ) -> None:
        # The base's sink is for our own lines; output passes _unstored, which counts by command.
        super().__init__(name, self._take_own, cancelled)
        self.handed_over = handed_over
        self._open = open_
        self._journal = sink
        self._may_go_on = may_go_on
        self._line: GuardLine | None = self._connect(cancelled)
        self._step, self._index = 0, 0
        self._stored, self._is_once, self._own = ResumeCursor(), False, 0
        self._runs_on = False

    def begin_step(
        self, number: int, stored: ResumeCursor = ResumeCursor(), once: bool = False
    ) -> None:
        """Begin a step, or continue it: commands that have run are not run again.

        Output that is already `stored` does not go to the sink again. A step that may run only
        `once` fails, rather than starting over, if its commands are not those of the first run.
        """
        self._step, self._index = number, 0
        self._stored, self._is_once, self._own = stored, once, 0

    def run_until(
        self,
        command: Command,
        line: str | None,
        *,
        begun_by: int,
        steps: int = 1,
        stdin: bytes = b"",
    ) -> Result:
        """See Host.run_until."""
        self._raise_if_cancelled()
        is_mine = begun_by == self._step
        limit = get_settings().STEP_TIMEOUT
        request = CommandRequest(
            begun_by,
            SHARED,
            shell.script_of(shell.line_of(command), self._folder),
            limit * steps,
            is_known_only=self._is_known_only or not is_mine,
            # Where another one was started, as by an older version, it counts as never begun.
            is_fresh=not (is_mine and self._is_once) and not self._is_known_only,
        )
        awaited = _Awaited(line)
        watch = Watch(GuardedRunning(self, request, stdin), awaited, self._cancelled, limit)
        self._runs_on = True
        try:
            while not awaited.is_there:
                if (result := watch.go_on(UNSHOWN)) is not None:
                    self._runs_on = False
                    return result
        except (NeverBegun, Cancelled, CommandTimedOut):
            self._runs_on = False
            raise
        return watch.so_far(0)

    def end_what_runs_on(self) -> bool:
        """End a command that later steps would have waited for; False if it may still run."""
        if not self._runs_on:
            return True
        self._runs_on = False
        return self.kill()

    def look(self, command: Command) -> Result:
        """Run a command that changes nothing, outside the log, even after a cancellation."""
        script = shell.script_of(shell.line_of(command), "")
        request = CommandRequest(*LOOK, script, LOOKS_FOR, is_kept=False)
        return self._watch(request, b"", "Looking around", LOOKS_FOR, no_sink, Event())

    def put(self, content: bytes | Path, target: str, mode: int = 0o644) -> None:
        """See Host.put. Also raises RecipeError, HandedOver."""
        self._raise_if_cancelled()
        path = shell.join(self._folder, target)
        for sent, line in enumerate(self.lines(), 1):
            # On a new line all of it is sent again: the guard drops a file whose client is gone.
            with suppress(ConnectionLost):
                self._send_file(line, content, path, mode)
                return
            self.drop_line()
            if sent == MOST_SENDS:
                break
        raise RecipeError(
            _(
                "%(path)s could not be written on %(name)s: it was sent %(times)s times and never"
                " confirmed. Check the disk and the network there."
            ),
            path=path,
            name=self.name,
            times=MOST_SENDS,
        )

    def _send_file(self, line: GuardLine, content: bytes | Path, path: str, mode: int) -> None:
        """Send a file over one line. Raises ConnectionLost, RecipeError, HandedOver."""
        line.send(Kind.PUT, {"path": path, "mode": mode})
        for block in self._blocks(content):
            if self.handed_over.is_set():
                raise HandedOver
            line.send(Kind.DATA, block)
        line.send(Kind.PUT_END)
        if problem := reply_to_put(line):
            raise RecipeError(
                _("%(path)s could not be written on %(name)s: %(reason)s."),
                path=path,
                name=self.name,
                reason=problem,
            )

    def get(self, source: str, target: Path, most: int) -> None:
        raise NotImplementedError  # the journal would keep the whole file as output

    def close(self) -> None:
        """Hang up and let the guard exit, which frees its lock; unless the work was handed over."""
        if self._line is not None and not self.handed_over.is_set():
            with suppress(ConnectionLost):
                self._line.send(Kind.BYE)
                # It answers by hanging up, and its lock is free soon after.
                self._line.receive(1.0)
        self.drop_line()

    def lines(self, seconds: float | None = None) -> Iterator[GuardLine]:
        """Yield the open line, and a new one each time it was dropped.

        Raises ConnectionLost once the server stays away, ClaimLost if another worker took over,
        HandedOver.
        """
        if self._line is not None:
            yield self._line
        while True:
            began = time.monotonic()
            self._line = self._connect_again(RECONNECTS_FOR if seconds is None else seconds)
            after = time.monotonic() - began
            self.note(
                f"The connection to {self.name} was lost and restored after {after:.1f} s."
                " No output was lost."
            )
            yield self._line

    def note(self, text: str) -> None:
        """Add a line to the log that a repeated step would not have."""
        self._journal.note(f"{text}\n".encode())

    def drop_line(self) -> None:
        """Close the line, so that the next request opens another."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def kill(self) -> bool:
        """Kill the running command; return whether it was seen to be gone."""
        with suppress(HostUnreachable):
            for line in self.lines(RECONNECTS_TO_STOP_FOR):
                with suppress(ConnectionLost):
                    return wait_until_killed(line)
                self.drop_line()
        return False

    def _connect(self, cancelled: Event) -> GuardLine:
        """Connect; try again if the connection was lost before anything was requested.

        A server that hangs is not waited for a second time.
        """
        began = time.monotonic()
        try:
            return self._open(cancelled)
        except ConnectionLost:
            if cancelled.is_set() or time.monotonic() - began > DIES_WITHIN:
                raise
        return self._connect_again(RECONNECTS_FOR)

    def _connect_again(self, seconds: float) -> GuardLine:
        """Reconnect. A cancel shortens the time to try, since a person is waiting for it."""
        delay, began = FIRST_DELAY, time.monotonic()
        while True:
            if self.handed_over.is_set():
                raise HandedOver
            if not self._may_go_on():
                raise ClaimLost
            try:
                return self._open(self.handed_over)
            except Cancelled:  # `handed_over` is the event that cancels connecting here
                raise HandedOver from None
            except HostUnreachable as error:
                # Read each time: the cancel may come while we try.
                most = RECONNECTS_TO_STOP_FOR if self._cancelled.is_set() else seconds
                if time.monotonic() + delay > began + most:
                    raise ConnectionLost(
                        _(
                            "The connection to %(name)s was lost and could not be restored: its"
                            " state is unknown. Check the server. (%(error)s)"
                        ),
                        name=self.name,
                        error=error,
                    ) from error
            self.handed_over.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    def _see_through(
        self, script: str, stdin: bytes, name: str, timeout: float, sink: Sink
    ) -> Result:
        index, self._index = self._index, self._index + 1
        self._journal.begin_command(index)
        request = CommandRequest(
            self._step,
            index,
            script,
            timeout,
            is_known_only=self._is_known_only,
            is_fresh=not self._is_once and not self._is_known_only,
        )
        # `sink` is else _take_own, which would count output among our own lines.
        unstored = sink if sink is no_sink else self._unstored(index)
        return self._watch(request, stdin, name, timeout, unstored, self._cancelled)

    def _watch(
        self,
        request: CommandRequest,
        stdin: bytes,
        name: str,
        timeout: float,
        sink: Sink,
        cancelled: Event,
    ) -> Result:
        running = GuardedRunning(self, request, stdin)
        return Watch(running, sink, cancelled, timeout).see_through(name)

    def _unstored(self, index: int) -> Sink:
        """Return a sink that skips the part of a command's output that is already stored."""
        left = {Stream.STDOUT: self._stored.out, Stream.STDERR: self._stored.err}
        is_stored = index < self._stored.command

        def give(stream: Stream, data: bytes) -> None:
            if is_stored:
                return
            if index == self._stored.command:
                skipped = min(left[stream], len(data))
                left[stream] -= skipped
                data = data[skipped:]
            if data:
                self._journal(stream, data)

        return give

    def _take_own(self, stream: Stream, data: bytes) -> None:
        """Take one of our own lines unless it is already stored."""
        start, self._own = self._own, self._own + len(data)
        if unstored := data[max(0, self._stored.own - start) :]:
            self._journal(stream, unstored)

    def _raise_if_cancelled(self) -> None:
        """Stop a command that a previous worker left running, then raise Cancelled."""
        if not self._cancelled.is_set():
            return
        if not self.kill():
            raise ConnectionLost(
                _(
                    "Cancelled, but the command on %(name)s could not be stopped: its state is "
                    "unknown. Check the server."
                ),
                name=self.name,
            )
        raise Cancelled(_("Cancelled: no further command was started."))

    def _start(self, script: str, stdin: bytes) -> Running:
        raise NotImplementedError  # commands are started by _watch

    def _write(self, blocks: Iterator[bytes], path: str, beside: str, mode: int) -> None:
        raise NotImplementedError  # files are written by put


class _Awaited:
    """A sink that waits for a whole line with a certain beginning."""

    def __init__(self, line: str | None) -> None:
        self._beginning = None if line is None else line.encode()
        self._unended = b""
        self.is_there = False

    def __call__(self, stream: Stream, data: bytes) -> None:
        if self._beginning is None or stream is not Stream.STDOUT:
            return
        *lines, self._unended = (self._unended + data).split(b"\n")
        self.is_there = self.is_there or any(line.startswith(self._beginning) for line in lines)


class ReplayHost(GuardedHost):
    """Answers a recipe from the journal and runs nothing; raises NeverBegun at its end."""

    _is_known_only = True

    def put(self, content: bytes | Path, target: str, mode: int = 0o644) -> None:
        """Send nothing: later commands show whether the file was sent."""


class _NoJournal:
    """A journal that keeps nothing."""

    def __call__(self, stream: Stream, data: bytes) -> None: ...

    def note(self, line: bytes) -> None: ...

    def begin_command(self, index: int) -> None: ...


def open_replay(address: Address, work: Work) -> ReplayHost:
    """Return a host that answers from the journal of a deployment on a server.

    Raises as `open_guarded` does.
    """
    never = Event()
    opener = _opener(address, work)
    # Never goes on: no claim is held that could be proved after a lost connection.
    return ReplayHost(address.name, opener, _NoJournal(), never, lambda: False, never)


def open_guarded(
    address: Address,
    work: Work,
    sink: Journal,
    cancelled: Event,
    *,
    may_go_on: Callable[[], bool] = lambda: True,
    handed_over: Event | None = None,
) -> GuardedHost:
    """Connect to a server, or to this machine, and to the guard of a deploy path there.

    `may_go_on` is called before a lost connection is reopened: it returns whether the claim is
    still ours. Once `handed_over` is set, running commands are left to another worker (HandedOver).
    Raises HostUnreachable, HostKeyMismatch, Cancelled, ServerBusy, ClaimLost, RecipeError.
    """
    opener = _opener(address, work)
    return GuardedHost(address.name, opener, sink, cancelled, may_go_on, handed_over or Event())


def _opener(address: Address, work: Work) -> Callable[[Event], GuardLine]:
    def open_(until_cancelled: Event) -> GuardLine:
        host = bare_host(address, until_cancelled)
        try:
            return open_line(host, work)
        except BaseException:
            host.close()
            raise

    return open_
