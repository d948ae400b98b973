"""The guard itself: one loop over its listener, its client and the pipes of one command."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from . import groups, spool
from .client import Client, Gone
from .command import Command
from .files import read_json, write_json
from .frames import Kind
from .journal import Entry, Journal, digest_of
from .putting import Putting

TICK = 0.25
LEASE = 15.0
"""Seconds of silence after which a client holds nothing any more: it may have been stopped."""

LINGER = 2.0
"""Seconds that a guard with nothing to do waits for its client to come back."""

GONE_WITHIN = 3.0
"""Seconds that a killed group gets to be gone, after the grace."""


class Guard:
    """Serves one deployment on one deploy path."""

    def __init__(
        self, listener: socket.socket, folder: str, home: str, hello: dict[str, Any]
    ) -> None:
        self._listener = listener
        self._folder = folder
        self._home = home
        self._whose = (hello["key"], hello["deployment"])
        self._work = {name: hello[name] for name in ("who", "what", "since", "deployment")}
        self._lease = hello.get("lease", LEASE)
        self._journal = Journal(folder, *self._whose)
        self._selector = selectors.DefaultSelector()
        self._client: Client | None = None
        self._command: Command | None = None
        self._reader: spool.Reader | None = None
        self._followed: Entry | None = None
        self._wish: dict[str, Any] | None = None
        self._stdin: BinaryIO | None = None
        self._putting: Putting | None = None
        self._killing = 0.0
        self._idle_since = time.monotonic()
        self._ends = False

    def serve(self) -> None:
        """Work until nobody needs it any more; the lock is free when this process has ended."""
        self._journal.open(self._work)
        write_json(os.path.join(self._folder, "holder.json"), self._work)
        self._wake_on_children()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        while not self._ends:
            for key, _events in self._selector.select(self._tick):
                key.data(key.fileobj)
            self._look_after_command()
            self._look_after_client()
            self._ends = self._ends or self._is_unneeded()

    @property
    def _tick(self) -> float:
        """Seconds to sleep at most. A command whose leader ended is looked at more often."""
        if self._command and self._command.leader_ended:
            return 0.01
        return TICK

    def _wake_on_children(self) -> None:
        """Have the loop wake when a command ends."""
        here, there = socket.socketpair()
        for end in (here, there):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        self._wakers = (here, there)
        self._selector.register(here, selectors.EVENT_READ, lambda sock: sock.recv(4096))

    # -- who may speak to it

    def _accept(self, listener: socket.socket) -> None:
        sock, _address = listener.accept()
        client = Client(sock)
        sock.settimeout(1.0)  # its relay sends the greeting in one piece
        try:
            frames: Any = []
            while not frames:
                frames = client.receive()
            sock.setblocking(False)
            self._greet(client, json.loads(frames[0][1]))
        except (Gone, ValueError, KeyError):
            client.close()

    def _greet(self, client: Client, hello: dict[str, Any]) -> None:
        if hello.get("probe"):
            journal = Journal(self._folder, hello["key"], hello["deployment"])
            client.send(Kind.RECORDS, journal.records())
            client.close()
        elif (hello["key"], hello["deployment"]) != self._whose:
            self._turn_away(client)
        elif not is_fresh(self._folder, hello):
            client.send(Kind.REFUSED, dict(self._work, why="stale"))
            client.close()
        else:
            self._take_on(client, hello)

    def _turn_away(self, client: Client) -> None:
        """Tell another deployment who works here; where nobody does, make room for it."""
        if self._command or self._client:
            client.send(Kind.REFUSED, dict(self._work, why="busy"))
        else:
            client.send(Kind.AGAIN)
            self._ends = True
        client.close()

    def _take_on(self, client: Client, hello: dict[str, Any]) -> None:
        """Work for this client from now on, and for none before it."""
        self._drop_client()
        self._client = client
        self._work["who"] = hello["who"]
        write_json(os.path.join(self._folder, "holder.json"), self._work)
        self._selector.register(client.sock, selectors.EVENT_READ, self._hear)
        client.send(Kind.WELCOME, {"pid": os.getpid()})

    def _drop_client(self) -> None:
        if self._client is not None:
            self._selector.unregister(self._client.sock)
            self._client.close()
        self._client = self._reader = self._wish = None
        self._killing = 0.0
        if self._putting is not None:
            self._putting.give_up()
            self._putting = None
        self._idle_since = time.monotonic()

    # -- what it is told

    def _hear(self, sock: socket.socket) -> None:
        if self._client is None or sock is not self._client.sock:
            return
        try:
            self._client.send_on()
            for kind, payload in self._client.receive():
                self._obey(kind, payload)
        except (Gone, KeyError, ValueError):
            self._drop_client()

    def _obey(self, kind: Kind, payload: bytes) -> None:
        obey: dict[Kind, Callable[[bytes], None]] = {
            Kind.RUN: self._note_wish,
            Kind.INPUT: self._keep_input,
            Kind.START: self._start,
            Kind.KILL: self._kill,
            Kind.PUT: self._begin_file,
            Kind.DATA: self._write_file,
            Kind.PUT_END: self._end_file,
            Kind.BYE: self._say_goodbye,
        }
        if self._client is not None and kind in obey:
            obey[kind](payload)

    def _note_wish(self, payload: bytes) -> None:
        self._wish, self._stdin = json.loads(payload), None

    def _keep_input(self, payload: bytes) -> None:
        """Keep all of a command's input before it begins, in a file without a name."""
        if self._stdin is None:
            self._stdin = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  _run closes it
        self._stdin.write(payload)

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

    def _say_goodbye(self, payload: bytes) -> None:
        self._drop_client()
        self._ends = self._command is None

    def _start(self, payload: bytes) -> None:
        """Run what was asked for, unless it was before: then tell again what came of it."""
        wish = self._wish
        if wish is None:
            return
        wish["digest"] = digest_of(wish["script"])
        entry = self._journal.entry(wish["step"], wish["index"])
        known = entry.command
        is_kept = wish.get("journal", True)
        is_another = known and wish.get("fresh") and known["digest"] != wish["digest"]
        if is_another or (known and not is_kept):
            self._journal.forget_from(wish["step"], wish["index"])
            known = {}
        if known and known["digest"] != wish["digest"]:
            self._say(Kind.UNKNOWN, {"reason": "it asks for something else than before"})
        elif known:
            self._tell_again(entry)
        elif wish.get("known_only"):
            self._say(Kind.UNKNOWN, {"reason": "it was never begun", "never": True})
        elif self._command is not None:
            self._say(Kind.FAILED, {"reason": "another command still runs"})
        else:
            self._run(Command(entry, wish), wish)

    def _tell_again(self, entry: Entry) -> None:
        """Tell what a command printed and how it ended; follow it where it still runs."""
        if self._runs(entry) or entry.exit_code is not None:
            self._follow(entry)
            return
        if entry.runs:
            groups.kill(entry.command["group"])
        self._say(Kind.UNKNOWN, {"reason": "nobody saw how it ended"})

    def _runs(self, entry: Entry) -> bool:
        return self._command is not None and self._command.entry.folder == entry.folder

    def _run(self, command: Command, wish: dict[str, Any]) -> None:
        if self._stdin is not None:
            self._stdin.seek(0)
        try:
            command.start(wish["script"], self._stdin, self._home)
        except OSError as error:
            reason = f"the command could not be started: {error.strerror or error}"
            self._say(Kind.FAILED, {"reason": reason})
            return
        finally:
            if self._stdin is not None:
                self._stdin.close()
                self._stdin = None
        self._command = command
        for pipe in command.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, self._take)
        self._follow(command.entry)

    def _follow(self, entry: Entry) -> None:
        wish = self._wish or {}
        offsets = {spool.OUT: wish.get("out_from", 0), spool.ERR: wish.get("err_from", 0)}
        self._followed, self._reader = entry, spool.Reader(entry.folder, offsets)

    def _kill(self, payload: bytes) -> None:
        grace = json.loads(payload)["grace"]
        if self._command is not None:
            self._command.tell_to_end(grace)
        self._killing = time.monotonic() + grace + GONE_WITHIN

    # -- the command

    def _take(self, pipe: int) -> None:
        command = self._command
        if command is None:
            return
        if not command.may_write and not command.make_room(self._read_up_to()):
            time.sleep(0.005)  # whoever listens is slow: so is the command
            return
        try:
            if not command.take(pipe):
                self._selector.unregister(pipe)
        except OSError:
            groups.kill(command.group)  # the disk takes no more of its output
            self._selector.unregister(pipe)
            del command.pipes[pipe]

    def _read_up_to(self) -> int | None:
        """The segment of the running command that somebody reads; None: nobody does."""
        is_read = self._client and self._followed and self._runs(self._followed)
        return self._reader.number if is_read and self._reader else None

    def _look_after_command(self) -> None:
        command = self._command
        if command is None:
            return
        command.watch_the_clock()
        code = command.code
        if code is None:
            return
        for pipe in list(command.pipes):
            self._selector.unregister(pipe)
        try:
            command.finish(code)
        except OSError as error:
            sys.stderr.write(f"the exit code could not be written: {error}\n")
        self._command = None
        self._idle_since = time.monotonic()

    # -- the client

    def _look_after_client(self) -> None:
        if self._client is None:
            return
        if self._client.silent_for() > self._lease:
            self._drop_client()
            return
        with contextlib.suppress(Gone):
            self._tell_output()
            self._tell_killed()
            self._listen_for_room()
            return
        self._drop_client()

    def _tell_output(self) -> None:
        client, reader = self._client, self._reader
        while client and reader and client.takes_more:
            has_ended = self._followed is not None and not self._runs(self._followed)
            pieces = reader.read()
            for stream, data in pieces:
                client.send((Kind.CUT, Kind.OUT, Kind.ERR)[stream], data)
            if pieces:
                continue
            if has_ended:
                self._tell_end(reader)
            return

    def _tell_end(self, reader: spool.Reader) -> None:
        code = self._followed.exit_code if self._followed else None
        if code is None:
            self._say(Kind.UNKNOWN, {"reason": "its exit code could not be written"})
        else:
            self._say(Kind.EXIT, {"code": code})
        reader.close()
        self._reader = self._followed = None

    def _tell_killed(self) -> None:
        if not self._killing:
            return
        gone = self._command is None
        if (gone and self._reader is None) or time.monotonic() > self._killing:
            self._killing = 0.0
            self._say(Kind.KILLED, {"gone": gone})

    def _listen_for_room(self) -> None:
        """Wake for this client when it takes more, where something waits for it."""
        if self._client is not None:
            events = selectors.EVENT_READ
            if self._client.wants_to_send:
                events |= selectors.EVENT_WRITE
            self._selector.modify(self._client.sock, events, self._hear)

    def _say(self, kind: Kind, payload: Any = b"") -> None:
        if self._client is not None:
            self._client.send(kind, payload)

    def _is_unneeded(self) -> bool:
        idle = self._client is None and self._command is None
        return idle and time.monotonic() - self._idle_since > LINGER


def is_fresh(folder: str, hello: dict[str, Any]) -> bool:
    """Whether nobody with a higher token came before; who comes is written down. Raises OSError."""
    path = os.path.join(folder, "fence.json")
    fences = read_json(path) or {}
    fence = [hello["deployment"], hello["token"]]
    highest = fences.get(hello["key"], [0, 0])
    if fence < highest:
        return False
    if fence > highest:
        write_json(path, dict(fences, **{hello["key"]: fence}))
    return True
