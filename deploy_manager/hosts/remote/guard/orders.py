"""A client's requests to the guard: run a command once, write a file, stop what runs."""

from __future__ import annotations

import os
import sys
import time

from . import spool
from .command import Command
from .frames import Kind
from .journal import digest_of
from .lean import loads
from .putting import Putting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from .client import Client
    from .groups import Group
    from .journal import Entry, Journal
    from .lean import Poll

GONE_WITHIN = 3.0
"""Seconds that a killed group may take to be gone, after the grace period."""

PAUSE = 0.005
"""Seconds to pause while the client reads its output too slowly."""


class Orders:
    """Handles frames. A running command goes on when its client is gone."""

    def __init__(self, journal: Journal, folder: str, home: str, poll: Poll) -> None:
        self._journal = journal
        self._folder = folder
        self._home = home
        self._poll = poll
        self._client: Client | None = None
        self._command: Command | None = None
        self._request: dict[str, Any] | None = None
        self._is_put_off = False
        self._stdin: BinaryIO | None = None
        self._no_input = ""
        self._followed: Entry | None = None
        self._reader: spool.Reader | None = None
        self._putting: Putting | None = None
        self._killing = 0.0
        self._doomed: list[Group] = []
        self._obeyed: dict[int, Callable[[bytes], None]] = {
            Kind.RUN: self._note_request,
            Kind.INPUT: self._keep_input,
            Kind.START: self._start,
            Kind.KILL: self._kill,
            Kind.PUT: self._begin_file,
            Kind.DATA: self._write_file,
            Kind.PUT_END: self._end_file,
        }

    @property
    def is_busy(self) -> bool:
        """Whether a command runs."""
        return self._command is not None

    @property
    def is_about_to_end(self) -> bool:
        """Whether the leader has ended and only the pipes are open: worth checking often."""
        return self._command is not None and self._command.leader_ended

    def serve(self, client: Client | None) -> None:
        """Serve this client from now on; unfinished requests of the one before are dropped."""
        self._client = client
        self._forget_request()
        self._stop_following()
        self._killing = 0.0
        if self._putting is not None:
            self._putting.give_up()
            self._putting = None

    def obey(self, kind: int, payload: bytes) -> None:
        """Handle a frame; unknown kinds are ignored. Raises Gone."""
        if kind in self._obeyed:
            self._obeyed[kind](payload)

    def look_after_command(self) -> bool:
        """Enforce the running command's limit; return whether one ended. Raises Gone."""
        command = self._command
        if command is None:
            return False
        command.watch_the_clock()
        code = command.code
        if code is None:
            return False
        # Pipes that are still open are held by a daemon which the command started.
        for pipe in list(command.pipes):
            self._poll.unregister(pipe)
        try:
            command.finish(code)
        except OSError as error:
            sys.stderr.write(f"the exit code could not be written: {error}\n")
        self._command = None
        if self._is_put_off:
            self._start(b"")
        return True

    def send_news(self) -> None:
        """Send output and results to the client, as much as it takes now. Raises Gone."""
        self._send_output()
        self._send_killed()

    # -- commands

    def _note_request(self, payload: bytes) -> None:
        self._forget_request()
        self._request = loads(payload)

    def _forget_request(self) -> None:
        self._request, self._is_put_off, self._no_input = None, False, ""
        if self._stdin is not None:
            self._stdin.close()
            self._stdin = None

    def _keep_input(self, payload: bytes) -> None:
        """Keep all of a command's input before it begins, in memory: it may have secrets."""
        try:
            if self._stdin is None:
                self._stdin = _unnamed_file(self._folder)
            self._stdin.write(payload)
            self._stdin.flush()
        except OSError as error:
            self._no_input = error.strerror or str(error)

    def _start(self, payload: bytes) -> None:
        """Run the requested command; if it ran before, send its output and result again."""
        request = self._request
        if request is None:
            return
        self._send(Kind.STARTED)
        request["digest"] = digest_of(request["script"])
        entry = self._journal.entry(request["step"], request["index"])
        known = entry.command
        is_same = bool(known) and known["digest"] == request["digest"]
        # Outside the journal it runs anew each time, unless it is this very one that still runs.
        if is_same and (request["journal"] or self._runs(entry)):
            self._send_again(entry)
        elif known and not is_same and not request["fresh"] and request["journal"]:
            self._send(Kind.UNKNOWN, {"reason": "the recipe runs another command than before"})
        elif request.get("known_only"):
            self._send(Kind.UNKNOWN, {"reason": "it was never started", "never": True})
        elif self._command is not None and not request["journal"]:
            # Who looks only must not wait: a cancellation would stop nothing meanwhile.
            self._send(Kind.FAILED, {"reason": "a command of this deployment still runs"})
        elif self._command is not None:
            self._is_put_off = True  # until what runs has ended
        else:
            if known:
                self._journal.forget_from(request["step"], request["index"])
            self._run(Command(entry, request), request)

    def _send_again(self, entry: Entry) -> None:
        """Send a command's output and how it ended; follow it if it still runs."""
        if self._runs(entry) or entry.exit_code is not None:
            self._follow(entry)
            return
        # It runs without a guard that could see its exit code: it is stopped, not left alone.
        if entry.runs:
            entry.group.kill()
        self._send(Kind.UNKNOWN, {"reason": "it was not seen to end"})

    def _runs(self, entry: Entry) -> bool:
        return self._command is not None and self._command.entry.folder == entry.folder

    def _run(self, command: Command, request: dict[str, Any]) -> None:
        if self._no_input:
            self._send(Kind.FAILED, {"reason": f"a command's input was not kept: {self._no_input}"})
            return
        if self._stdin is not None:
            self._stdin.seek(0)
        try:
            command.start(request["script"], self._stdin, self._home)
        except OSError as error:
            reason = f"the command could not be started: {error.strerror or error}"
            self._send(Kind.FAILED, {"reason": reason})
            return
        self._command = command
        for pipe in command.pipes:
            self._poll.register(pipe, self._take)
        self._follow(command.entry)

    def _take(self, pipe: int) -> None:
        command = self._command
        if command is None:
            return
        # Not read on: the pipe fills up, and the command waits for the client (see make_room).
        if not command.may_write and not command.make_room(self._read_up_to()):
            time.sleep(PAUSE)
            return
        if not command.take(pipe):
            self._poll.unregister(pipe)

    def _read_up_to(self) -> int | None:
        """The segment of the running command that the client reads; None if it reads none."""
        is_read = self._followed and self._runs(self._followed)
        return self._reader.number if is_read and self._reader else None

    def _kill(self, payload: bytes) -> None:
        """End all that runs, under this guard or left behind by an earlier one."""
        grace = loads(payload)["grace"]
        # Else the command that waits for its turn would begin once this one is dead.
        self._is_put_off = False
        self._doomed = [each.group for each in self._journal.running() if not self._runs(each)]
        # Nobody can see any more how these end, so that they get no grace.
        for group in self._doomed:
            group.kill()
        if self._command is not None:
            self._command.terminate(grace)
        self._killing = time.monotonic() + grace + GONE_WITHIN

    # -- output and results

    def _follow(self, entry: Entry) -> None:
        self._stop_following()
        request = self._request or {}
        offsets = {spool.OUT: request.get("out_from", 0), spool.ERR: request.get("err_from", 0)}
        self._followed, self._reader = entry, spool.Reader(entry.folder, offsets)

    def _stop_following(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._followed = None

    def _send_output(self) -> None:
        while self._client and self._reader and self._followed and self._client.takes_more:
            has_ended = not self._runs(self._followed)
            pieces = self._reader.read()
            for stream, data in pieces:
                self._client.send((Kind.CUT, Kind.OUT, Kind.ERR)[stream], data)
            if not pieces:
                if has_ended:
                    self._send_end(self._followed)
                return

    def _send_end(self, entry: Entry) -> None:
        if entry.problem:
            self._send(Kind.FAILED, {"reason": entry.problem})
        elif entry.exit_code is None:
            self._send(Kind.UNKNOWN, {"reason": "its exit code could not be written"})
        else:
            self._send(Kind.EXIT, {"code": entry.exit_code})
        self._stop_following()

    def _send_killed(self) -> None:
        """Send whether the killed commands are gone, after their output."""
        if not self._killing:
            return
        gone = self._command is None and not any(group.lives for group in self._doomed)
        if (gone and self._reader is None) or time.monotonic() > self._killing:
            self._killing = 0.0
            self._send(Kind.KILLED, {"gone": gone})

    def _send(self, kind: int, payload: Any = b"") -> None:
        if self._client is not None:
            self._client.send(kind, payload)

    # -- files

    def _begin_file(self, payload: bytes) -> None:
        self._putting = Putting(loads(payload), self._home)

    def _write_file(self, payload: bytes) -> None:
        if self._putting is not None:
            self._putting.write(payload)

    def _end_file(self, payload: bytes) -> None:
        if self._putting is None:
            return
        problem, self._putting = self._putting.finish(), None
        if problem:
            self._send(Kind.FAILED, {"reason": problem})
        else:
            self._send(Kind.PUT_DONE)


def _unnamed_file(folder: str) -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("input"), "w+b")
    import tempfile

    return tempfile.TemporaryFile(dir=folder)
