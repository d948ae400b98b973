"""What a client has the guard do: commands that run once, files, and an end to what runs."""

from __future__ import annotations

import json
import selectors
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from . import groups, spool
from .client import Client
from .command import Command
from .frames import Kind
from .journal import Entry, Journal, digest_of
from .putting import Putting

GONE_WITHIN = 3.0
"""Seconds that a killed group gets to be gone, after the grace."""

PAUSE = 0.005
"""Seconds to leave a command alone while whoever reads its output is slow."""


class Orders:
    """Obeys frames. A running command stays when the client that asked for it is gone."""

    def __init__(
        self, journal: Journal, folder: str, home: str, selector: selectors.BaseSelector
    ) -> None:
        self._journal = journal
        self._folder = folder
        self._home = home
        self._selector = selector
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
        self._doomed: list[int] = []
        self._obeyed: dict[Kind, Callable[[bytes], None]] = {
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
        """Whether only pipes are waited for: something to look at often."""
        return self._command is not None and self._command.leader_ended

    def serve(self, client: Client | None) -> None:
        """Obey this client from now on; what the one before had not ended asking for is void."""
        self._client = client
        self._forget_request()
        self._stop_following()
        self._killing = 0.0
        if self._putting is not None:
            self._putting.give_up()
            self._putting = None

    def obey(self, kind: Kind, payload: bytes) -> None:
        """Do what a frame asks for; other kinds mean nothing here. Raises Gone."""
        if kind in self._obeyed:
            self._obeyed[kind](payload)

    def look_after_command(self) -> bool:
        """Keep the running command to its time; return whether one ended. Raises Gone."""
        command = self._command
        if command is None:
            return False
        command.watch_the_clock()
        code = command.code
        if code is None:
            return False
        for pipe in list(command.pipes):
            self._selector.unregister(pipe)
        try:
            command.finish(code)
        except OSError as error:
            sys.stderr.write(f"the exit code could not be written: {error}\n")
        self._command = None
        if self._is_put_off:
            self._start(b"")
        return True

    def tell(self) -> None:
        """Tell the client what there is to tell, as much as it takes now. Raises Gone."""
        self._tell_output()
        self._tell_killed()

    # -- commands

    def _note_request(self, payload: bytes) -> None:
        self._forget_request()
        self._request = json.loads(payload)

    def _forget_request(self) -> None:
        self._request, self._is_put_off, self._no_input = None, False, ""
        if self._stdin is not None:
            self._stdin.close()
            self._stdin = None

    def _keep_input(self, payload: bytes) -> None:
        """Keep all of a command's input before it begins, in a file without a name."""
        try:
            if self._stdin is None:
                self._stdin = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            self._stdin.write(payload)
            self._stdin.flush()
        except OSError as error:
            self._no_input = error.strerror or str(error)

    def _start(self, payload: bytes) -> None:
        """Run what was asked for, unless it was before: then tell again what came of it."""
        request = self._request
        if request is None:
            return
        self._say(Kind.STARTED)
        request["digest"] = digest_of(request["script"])
        entry = self._journal.entry(request["step"], request["index"])
        known = entry.command
        is_same = bool(known) and known["digest"] == request["digest"]
        if is_same and (request["journal"] or self._runs(entry)):
            self._tell_again(entry)
        elif known and not is_same and not request["fresh"] and request["journal"]:
            self._say(Kind.UNKNOWN, {"reason": "it asks for something else than before"})
        elif request.get("known_only"):
            self._say(Kind.UNKNOWN, {"reason": "it was never begun", "never": True})
        elif self._command is not None:
            self._is_put_off = True  # until what runs has ended
        else:
            if known:
                self._journal.forget_from(request["step"], request["index"])
            self._run(Command(entry, request), request)

    def _tell_again(self, entry: Entry) -> None:
        """Tell what a command printed and how it ended; follow it where it still runs."""
        if self._runs(entry) or entry.exit_code is not None:
            self._follow(entry)
            return
        if entry.runs:
            groups.kill(entry.group)
        self._say(Kind.UNKNOWN, {"reason": "nobody saw how it ended"})

    def _runs(self, entry: Entry) -> bool:
        return self._command is not None and self._command.entry.folder == entry.folder

    def _run(self, command: Command, request: dict[str, Any]) -> None:
        if self._no_input:
            self._say(Kind.FAILED, {"reason": f"a command's input was not kept: {self._no_input}"})
            return
        if self._stdin is not None:
            self._stdin.seek(0)
        try:
            command.start(request["script"], self._stdin, self._home)
        except OSError as error:
            reason = f"the command could not be started: {error.strerror or error}"
            self._say(Kind.FAILED, {"reason": reason})
            return
        self._command = command
        for pipe in command.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, self._take)
        self._follow(command.entry)

    def _take(self, pipe: int) -> None:
        command = self._command
        if command is None:
            return
        if not command.may_write and not command.make_room(self._read_up_to()):
            time.sleep(PAUSE)
            return
        if not command.take(pipe):
            self._selector.unregister(pipe)

    def _read_up_to(self) -> int | None:
        """The segment of the running command that somebody reads; None: nobody does."""
        is_read = self._followed and self._runs(self._followed)
        return self._reader.number if is_read and self._reader else None

    def _kill(self, payload: bytes) -> None:
        """End what runs, be it watched by this guard or left behind by one before."""
        grace = json.loads(payload)["grace"]
        self._is_put_off = False
        self._doomed = [each.group for each in self._journal.running() if not self._runs(each)]
        for group in self._doomed:
            groups.kill(group)
        if self._command is not None:
            self._command.tell_to_end(grace)
        self._killing = time.monotonic() + grace + GONE_WITHIN

    # -- what is told

    def _follow(self, entry: Entry) -> None:
        self._stop_following()
        request = self._request or {}
        offsets = {spool.OUT: request.get("out_from", 0), spool.ERR: request.get("err_from", 0)}
        self._followed, self._reader = entry, spool.Reader(entry.folder, offsets)

    def _stop_following(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._followed = None

    def _tell_output(self) -> None:
        while self._client and self._reader and self._followed and self._client.takes_more:
            has_ended = not self._runs(self._followed)
            pieces = self._reader.read()
            for stream, data in pieces:
                self._client.send((Kind.CUT, Kind.OUT, Kind.ERR)[stream], data)
            if not pieces:
                if has_ended:
                    self._tell_end(self._followed)
                return

    def _tell_end(self, entry: Entry) -> None:
        if entry.problem:
            self._say(Kind.FAILED, {"reason": entry.problem})
        elif entry.exit_code is None:
            self._say(Kind.UNKNOWN, {"reason": "its exit code could not be written"})
        else:
            self._say(Kind.EXIT, {"code": entry.exit_code})
        self._stop_following()

    def _tell_killed(self) -> None:
        """Tell whether what was to end is gone; what it printed is told before."""
        if not self._killing:
            return
        gone = self._command is None and not any(map(groups.lives, self._doomed))
        if (gone and self._reader is None) or time.monotonic() > self._killing:
            self._killing = 0.0
            self._say(Kind.KILLED, {"gone": gone})

    def _say(self, kind: Kind, payload: Any = b"") -> None:
        if self._client is not None:
            self._client.send(kind, payload)

    # -- files

    def _begin_file(self, payload: bytes) -> None:
        self._putting = Putting(json.loads(payload), self._home)

    def _write_file(self, payload: bytes) -> None:
        if self._putting is not None:
            self._putting.write(payload)

    def _end_file(self, payload: bytes) -> None:
        if self._putting is None:
            return
        problem, self._putting = self._putting.finish(), None
        if problem:
            self._say(Kind.FAILED, {"reason": problem})
        else:
            self._say(Kind.PUT_DONE)
