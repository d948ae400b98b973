"""The guard itself: one loop over its listener, its client and the pipes of one command."""

from __future__ import annotations

import os
import time

from .client import Client, Gone
from .files import read_json, write_json
from .frames import Kind
from .journal import Journal
from .lean import Poll, accepted, loads, pair, signal, suppress
from .orders import Orders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .lean import socket

TICK = 0.25
SHORT_TICK = 0.01
LEASE = 15.0
"""Seconds of silence after which a client is dropped: its process may have been stopped."""

GREETS_WITHIN = 1.0
"""Seconds for which the loop may stand still: relays send their greeting at once."""

LINGER = 2.0
"""Seconds that a guard with nothing to do waits for its client to come back."""


class Guard:
    """Serves one deployment on one deploy path."""

    def __init__(self, listener: socket, folder: str, home: str, hello: dict[str, Any]) -> None:
        self._listener = listener
        self._folder = folder
        self._whose = (hello["key"], hello["deployment"])
        self._work = work_of(hello)
        self._lease = hello.get("lease", LEASE)
        self._poll = Poll()
        self._client: Client | None = None
        self._orders = Orders(Journal(folder, *self._whose), folder, home, self._poll)
        self._idle_since = time.monotonic()
        self._has_served = False
        self._ends = False

    def serve(self) -> None:
        """Work until it is no longer needed; the lock is free when this process has ended."""
        self._wake_on_children()
        self._listener.setblocking(False)
        self._poll.register(self._listener, self._accept)
        while not self._ends:
            # Nothing wakes the loop when pipes that a daemon holds open have been silent enough.
            tick = SHORT_TICK if self._orders.is_about_to_end else TICK
            self._poll.wait(tick)
            self._look_after_command()
            self._look_after_client()
            self._ends = self._ends or self._is_unneeded()

    def _wake_on_children(self) -> None:
        """Have the loop wake when a command ends."""
        here, there = pair()
        # The wakeup fd is written only for signals that have a Python handler, even an empty one.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(there, warn_on_full_buffer=False)
        self._poll.register(here, lambda end: os.read(end, 4096))

    # -- clients

    def _accept(self, listener: socket) -> None:
        try:
            client = Client(accepted(listener))
        except OSError:
            return
        try:
            self._greet(client, loads(client.receive_first(GREETS_WITHIN)[1]))
        except (Gone, ValueError, KeyError):
            client.close()
        except OSError as error:
            with suppress(Gone):
                client.send(Kind.FAILED, {"reason": f"{self._folder}: {error.strerror or error}"})
            client.close()

    def _greet(self, client: Client, hello: dict[str, Any]) -> None:
        # First: to read needs no claim, and must neither be fenced nor disturb who works here.
        if hello.get("probe"):
            journal = Journal(self._folder, hello["key"], hello["deployment"])
            client.send(Kind.RECORDS, journal.records())
            client.close()
        elif (hello["key"], hello["deployment"]) != self._whose:
            self._turn_away(client)
        # Asked last, since it records: whom we turn away must not outdate whom we serve.
        elif not is_fresh(self._folder, hello):
            client.send(Kind.REFUSED, dict(self._work, why="stale"))
            client.close()
        else:
            self._take_on(client, hello)

    def _turn_away(self, client: Client) -> None:
        """Tell another deployment who works here, or exit to make room if no one does any more."""
        # A guard that has served no one yet was just started by a relay that is about to connect.
        if self._orders.is_busy or self._client or not self._has_served:
            client.send(Kind.REFUSED, dict(self._work, why="busy"))
        else:
            client.send(Kind.AGAIN)
            self._ends = True
        client.close()

    def _take_on(self, client: Client, hello: dict[str, Any]) -> None:
        """Serve this client from now on, instead of the one before it."""
        self._drop_client()
        self._work["who"] = hello["who"]
        with suppress(OSError):  # only shown to others: the old file will do
            write_json(os.path.join(self._folder, "holder.json"), self._work)
        client.send(Kind.WELCOME, {"pid": os.getpid()})
        self._poll.register(client.sock, self._hear)
        self._client = client
        self._has_served = True
        self._orders.serve(client)

    def _drop_client(self) -> None:
        if self._client is not None:
            self._poll.unregister(self._client.sock)
            self._client.close()
        self._client = None
        self._orders.serve(None)
        self._idle_since = time.monotonic()

    def _hear(self, sock: socket) -> None:
        # An event before this one, in the same round of select, may have dropped it.
        if self._client is None or sock is not self._client.sock:
            return
        try:
            # Called when the socket is readable, and when it is writable: see `writes` below.
            self._client.send_on()
            for kind, payload in self._client.receive():
                if kind == Kind.BYE:
                    self._drop_client()
                    self._ends = not self._orders.is_busy
                    return
                self._orders.obey(kind, payload)
        except (Gone, KeyError, ValueError, OSError):
            self._drop_client()

    # -- housekeeping, once per tick

    def _look_after_command(self) -> None:
        try:
            if self._orders.look_after_command():
                self._idle_since = time.monotonic()
        except Gone:
            self._drop_client()

    def _look_after_client(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            if client.silent_for() > self._lease:
                raise Gone
            self._orders.send_news()
            self._poll.register(client.sock, self._hear, writes=client.wants_to_send)
        except (Gone, OSError):
            self._drop_client()

    def _is_unneeded(self) -> bool:
        is_idle = self._client is None and not self._orders.is_busy
        return is_idle and time.monotonic() - self._idle_since > LINGER


def work_of(hello: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a greeting that is shown to others who find the server busy."""
    return {name: hello[name] for name in ("who", "what", "since", "key", "deployment")}


def is_fresh(folder: str, hello: dict[str, Any]) -> bool:
    """Whether no later deployment or higher token was seen; records this one. Raises OSError."""
    path = os.path.join(folder, "fence.json")
    fences = read_json(path) or {}
    fence = [hello["begin_number"], hello["token"]]
    highest = fences.get(hello["key"], [0, 0])
    if fence < highest:
        return False
    if fence > highest:
        write_json(path, dict(fences, **{hello["key"]: fence}))
    return True
