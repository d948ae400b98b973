"""The relay between a connection and the guard, which it starts if there is none."""

from __future__ import annotations

import _thread
import fcntl
import os
import sys
import time

from .daemon import Guard, is_fresh, work_of
from .encoding import speak_utf8
from .files import read_json, write_json
from .frames import READY, Kind, Unpacker, pack
from .journal import Journal, running_elsewhere
from .lean import AF_UNIX, SHUT_RDWR, loads, socket, suppress
from .modes import repair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .frames import Frame

BUSY_AFTER = 1.5
"""Seconds to try to reach a guard whose lock is held before it is reported as busy."""

SLOW_AFTER = 12.0
"""The same for a guard of our own deployment, which is only slow, and for a start of processes."""

READ_BYTES = 256 * 1024


def main() -> int:
    """Run `attach <folder>`; the greeting is read from standard input."""
    folder = sys.argv[2]
    # The account's home, where sshd starts us, and where commands have to start as well.
    home = os.getcwd()
    os.umask(0o077)  # commands set their own: see shell.script_of
    # Written at once: the worker may then send its greeting, whatever the shell profile printed.
    os.write(1, READY)
    hello, rest = _read_hello()
    if hello is None:
        return 1
    oldest = hello.get("oldest_python", [])
    if list(sys.version_info[:2]) < oldest:
        python = ".".join(map(str, sys.version_info[:3]))
        _write(pack(Kind.REFUSED, {"why": "old", "python": python, "oldest": oldest}))
        return 1
    try:
        os.chdir(folder)
        sock, answer = _reach_guard(os.getcwd(), home, hello)
    except OSError as error:
        reason = f"{folder}: {error.strerror or error}"
        _write(pack(Kind.FAILED, {"reason": reason}))
        return 1
    _write(answer)
    if sock is not None:
        _pump(sock, rest)
    return 0


def _read_hello() -> tuple[dict[str, Any] | None, bytes]:
    unpacker = Unpacker()
    while True:
        data = os.read(0, READ_BYTES)
        if not data:
            return None, b""
        for kind, payload in unpacker.feed(data):
            if kind == Kind.HELLO:
                return loads(payload), unpacker.rest
            return None, b""


def _reach_guard(folder: str, home: str, hello: dict[str, Any]) -> tuple[socket | None, bytes]:
    """Return a connection that a guard accepted, or None and its refusal. Raises OSError."""
    began = time.monotonic()
    while True:
        sock = _connect()
        if sock is not None:
            # AGAIN, or no answer: that guard is exiting, and the lock will soon be free.
            frame = _greet(sock, hello)
            if frame is not None and frame[0] != Kind.AGAIN:
                return (sock if frame[0] == Kind.WELCOME else None), pack(*frame)
        elif hello.get("probe"):
            records = Journal(folder, hello["key"], hello["deployment"]).records()
            return None, pack(Kind.RECORDS, records)
        else:
            refusal = _start_guard(folder, home, hello)
            if refusal is not None:
                return None, refusal
        holder = read_json("holder.json") or {}
        is_ours = all(holder.get(name) == hello[name] for name in ("key", "deployment"))
        ends_soon = is_ours or holder.get("is_brief")
        if time.monotonic() - began > (SLOW_AFTER if ends_soon else BUSY_AFTER):
            return None, _busy(holder)
        time.sleep(0.01)


def _connect() -> socket | None:
    sock = socket(AF_UNIX)
    try:
        sock.connect("socket")
    except OSError:
        sock.close()
        return None
    return sock


def _greet(sock: socket, hello: dict[str, Any]) -> Frame | None:
    """Return the guard's answer; None if it is exiting."""
    sock.settimeout(BUSY_AFTER)
    unpacker = Unpacker()
    with suppress(OSError):
        sock.sendall(pack(Kind.HELLO, hello))
        while True:
            data = sock.recv(READ_BYTES)
            if not data:
                return None
            for frame in unpacker.feed(data):
                sock.settimeout(None)
                return frame
    return None


def _start_guard(folder: str, home: str, hello: dict[str, Any]) -> bytes | None:
    """Start a guard in a process of its own if the lock is free; return a refusal, if any."""
    lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    try:
        journal = Journal(folder, hello["key"], hello["deployment"])
        work = running_elsewhere(folder, journal.folder)
        if work is not None:
            return _busy(work)
        # After all other refusals, since it records the token: a refused worker outdates nobody.
        if not is_fresh(folder, hello):
            return pack(Kind.REFUSED, {"why": "stale"})
        repair(folder)
        journal.open(work_of(hello))
        write_json("holder.json", work_of(hello))
        # Listens already: who connects before the guard runs has to wait, and is not refused.
        _spawn(_listen(), folder, home, hello, lock)
    finally:
        # flock(2) locks the open file: the guard's copy, made by fork, holds it on.
        os.close(lock)
    return None


def _listen() -> socket:
    # Left by a guard that was killed: we hold the lock, so nobody listens there.
    with suppress(FileNotFoundError):
        os.unlink("socket")
    # A relative name, since the path of a socket is limited to 107 bytes (unix(7)).
    listener = socket(AF_UNIX)
    # Who may write to a socket's file may connect (unix(7)): it is private from the start.
    before = os.umask(0o177)
    listener.bind("socket")
    os.umask(before)
    listener.listen(16)
    return listener


def _spawn(listener: socket, folder: str, home: str, hello: dict[str, Any], lock: int) -> None:
    """Fork the guard as a grandchild, which alone holds the lock."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        listener.close()
        return
    try:
        # Twice, so that the guard has no terminal and init, not sshd's session, is its parent.
        os.setsid()
        if os.fork() == 0:
            _detach(keep=(listener.fileno(), lock))
            speak_utf8()
            Guard(listener, folder, home, hello).serve()
            with suppress(OSError):
                os.unlink("socket")
    except BaseException as error:
        sys.stderr.write(f"the guard ended: {error!r}\n")
        sys.stderr.flush()
    finally:
        os._exit(0)


def _detach(keep: tuple[int, ...]) -> None:
    """Close everything inherited from the connection; errors go to a small file."""
    nothing = os.open(os.devnull, os.O_RDWR)
    errors = os.open("guard.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, target in ((nothing, 0), (nothing, 1), (errors, 2)):
        os.dup2(number, target)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number not in keep:
            with suppress(OSError):
                os.close(number)


def _busy(work: dict[str, Any] | None) -> bytes:
    return pack(Kind.REFUSED, dict(work or {}, why="busy"))


def _pump(sock: socket, rest: bytes) -> None:
    """Copy in both directions independently, until one end hangs up."""
    _thread.start_new_thread(_copy_in, (sock, rest))
    with suppress(OSError):
        while True:
            data = sock.recv(READ_BYTES)
            if not data:
                return
            _write(data)


def _copy_in(sock: socket, data: bytes) -> None:
    with suppress(OSError):
        while True:
            sock.sendall(data)
            data = os.read(0, READ_BYTES)
            if not data:
                break
    with suppress(OSError):
        # The worker hung up: this ends the other direction as well, and with it the relay.
        sock.shutdown(SHUT_RDWR)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
