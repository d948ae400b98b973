"""The gunicorn that we run ourselves: started, replaced without losing a request, ended.

A running master is asked to start a second one beside it (USR2); once a worker of that one has
loaded the site, the old one ends gracefully. Both share the listening socket: no request is lost.
See https://docs.gunicorn.org/en/stable/signals.html#upgrading-to-a-new-binary-on-the-fly
"""

from __future__ import annotations

import glob
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from . import seen
from .place import Place, end_of, read, write
from .supervisors import ServingError

START_SECONDS = 60
SUCCESSOR_SECONDS = 10
GRACEFUL_SECONDS = 45
"""More than the graceful_timeout that serve.py sets, in which gunicorn ends its workers itself."""

QUICK_SECONDS = 10
HEARD_SECONDS = 1.5
PROMOTION_SECONDS = 3
POLL_SECONDS = 0.05
TAIL_BYTES = 8 * 1024


class Gunicorn:
    """The masters of a site, and how the first one is started: by us, or by systemd."""

    def __init__(
        self,
        place: Place,
        bind: str = "",
        start: Callable[[], Callable[[], bool]] = lambda: lambda: False,
    ) -> None:
        """`start` starts the first one, and returns what tells whether that is alive.

        Without it, they can only be found and ended.
        """
        self.place = place
        self.bind = bind
        self.start_first = start
        self.pid_file = os.path.join(place.tools, "gunicorn.pid")
        self.log = os.path.join(place.tools, "gunicorn.log")
        self.log_start = os.path.getsize(self.log) if os.path.exists(self.log) else 0

    # Finding processes

    def masters(self) -> list[int]:
        """The site's gunicorn masters, oldest first; two while one replaces the other.

        They are identified by their command line, never by a pid file alone: another program may
        have its number by now.
        """
        parents = {pid: seen.parent_of(pid) for pid in self.processes()}
        tops = [pid for pid in parents if parents[pid] not in parents and self.is_master(pid)]
        return sorted(tops) + [pid for pid in parents if is_successor(pid, parents[pid])]

    def is_master(self, pid: int) -> bool:
        """Whether it is no worker whose master is gone: it began a session, or was a successor."""
        return seen.session_of(pid) == pid or bool(self.state_of(pid))

    def end_orphans(self) -> None:
        """End workers whose master was killed: they still have the address, for some seconds."""
        parents = {pid: seen.parent_of(pid) for pid in self.processes()}
        left = [pid for pid in parents if parents[pid] not in parents and not self.is_master(pid)]
        for pid in left:
            print(f"Ending process {pid}, a worker of gunicorn whose master is gone.", flush=True)
            self.end(pid, signal.SIGTERM, QUICK_SECONDS)

    def processes(self) -> list[int]:
        return [pid for pid in seen.all_processes() if self.is_own(pid)]

    def is_own(self, pid: int) -> bool:
        words = seen.as_executed(pid, "cmdline").split(b"\0")
        wanted = [os.fsencode(self.place.program), b"serve", os.fsencode(self.place.path)]
        return words[1:4] == wanted

    def successors(self, old: int) -> list[int]:
        own = self.processes()
        return [pid for pid in own if is_successor(pid, old) and seen.parent_of(pid) == old]

    def state_of(self, master: int) -> dict[str, str]:
        """The state that a master's workers record once they have loaded the site; empty before."""
        text = read(os.path.join(self.place.tools, f"gunicorn-{master}.json"))
        return dict(json.loads(text)) if text else {}

    def log_tail(self) -> str:
        """The end of the log since we began, in at most TAIL_BYTES."""
        if not os.path.exists(self.log):
            return ""
        with open(self.log, "rb") as file:
            # One byte more, by which it is seen whether there is more than that.
            file.seek(max(self.log_start, os.path.getsize(self.log) - TAIL_BYTES - 1))
            return end_of(file.read(), TAIL_BYTES)

    # Starting, replacing and ending them

    def reload(self) -> int:
        """Start gunicorn or replace its master; return the one that serves the current release."""
        self.prepare()
        self.end_orphans()
        running = self.masters()
        if not running:
            print("Starting gunicorn.", flush=True)
            return self.start()
        old = self.settle(running)
        if self.state_of(old).get("bind", self.bind) != self.bind:
            print("The address has changed: gunicorn has to end before it can listen there.")
            self.end(old, signal.SIGTERM, GRACEFUL_SECONDS)
            return self.start()
        print(f"Replacing the gunicorn master {old}.", flush=True)
        return self.replace(old)

    def prepare(self) -> None:
        """Make sure that it can run at all.

        A master that can't execute its successor would end its own workers.
        """
        python = self.place.current_python
        if not os.path.exists(python):
            raise ServingError(f"{python} is missing: deploy the site to this server first.")
        ask = [python, "-c", "import gunicorn.app.base"]
        done = subprocess.run(ask, cwd=self.place.path, stderr=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise ServingError(
                "gunicorn is not installed for this release: add it to the requirements."
            )

    def start(self) -> int:
        """Start the first master; returns once it has loaded the site."""
        self.forget_the_dead()
        is_alive = self.start_first()
        try:
            wait(lambda: bool(self.masters()) or not is_alive(), SUCCESSOR_SECONDS)
            found = self.masters()
            if not found:
                raise ServingError("The new release does not start.")
            self.await_loaded(found[0])
        except BaseException:
            for pid in self.masters():
                self.end(pid, signal.SIGQUIT, QUICK_SECONDS)
            raise
        return found[0]

    def replace(self, old: int) -> int:
        """Replace a running master by a new one. If the new one fails, the old one stays."""
        new = None
        os.kill(old, signal.SIGUSR2)
        try:
            new = self.await_successor(old)
            self.await_loaded(new)
        except BaseException:
            # When we are stopped, the old one may not have heard of it yet, and starts it later.
            if new is None:
                wait(lambda: bool(self.successors(old)), HEARD_SECONDS)
            for pid in {*self.successors(old), *([new] if new else [])}:
                self.call_off(pid)
            raise
        self.end(old, signal.SIGTERM, GRACEFUL_SECONDS)
        # Its loop checks once a second whether the old one is gone, or at once when a signal wakes
        # it.
        self.send(new, signal.SIGCHLD)
        return new

    def await_successor(self, old: int) -> int:
        if not wait(lambda: bool(self.successors(old)), SUCCESSOR_SECONDS):
            raise ServingError("The new release did not start; the old one still serves.")
        return self.successors(old)[0]

    def await_loaded(self, master: int) -> None:
        began = seen.started_at(master)

        def has_ended() -> bool:
            # Not by its command line, which reads empty for a moment when it executes itself.
            return began == 0 or seen.started_at(master) != began

        wait(lambda: bool(self.state_of(master)) or has_ended(), START_SECONDS)
        if not self.state_of(master) or has_ended():
            raise ServingError("The new release does not start.")
        if self.state_of(master)["release"] != self.place.release:
            raise ServingError("gunicorn loaded another release than the current one.")

    def await_pid_file(self, master: int) -> None:
        """Wait until a master has taken over the pid file, a second after the old one's end."""
        if not wait(lambda: self.has_its_pid_file(master), PROMOTION_SECONDS):
            raise ServingError(f"The gunicorn master {master} ended after it had begun.")

    def end(self, master: int, by: signal.Signals, seconds: float) -> None:
        """End a master with its workers, by force after this many seconds."""
        # Listed before it ends: workers that outlive their master have another parent.
        workers = [pid for pid in self.processes() if seen.parent_of(pid) == master]
        workers = [pid for pid in workers if not is_successor(pid, master)]
        self.send(master, by)
        if wait(lambda: not self.is_own(master), seconds):
            return
        if self.has_its_pid_file(master):
            os.unlink(self.pid_file)
        for pid in [master, *workers]:
            self.send(pid, signal.SIGKILL)
        if not wait(lambda: not self.is_own(master), QUICK_SECONDS):
            raise ServingError(f"The old gunicorn master, process {master}, can't be ended.")

    def call_off(self, successor: int) -> None:
        """End a master that is not to serve. One that has not loaded the site is not asked.

        Whoever stops us gives us two seconds, and a site's import may take longer than that.
        """
        if self.state_of(successor):
            self.end(successor, signal.SIGQUIT, QUICK_SECONDS)
            return
        # It must not start another worker while those it has are listed.
        self.send(successor, signal.SIGSTOP)
        for pid in list(seen.with_children(successor)):
            self.send(pid, signal.SIGKILL)

    def send(self, pid: int, number: signal.Signals) -> None:
        # Its number may be another program's by now.
        if self.is_own(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end_gracefully(self, master: int) -> None:
        """End a master that is not wanted any more; its workers finish their requests."""
        print(f"Ending the gunicorn master {master}.", flush=True)
        self.end(master, signal.SIGTERM, GRACEFUL_SECONDS)
        if not self.masters():
            self.forget_the_dead()

    def settle(self, running: list[int]) -> int:
        """Return the master to keep; ends another one left by an interrupted reload.

        The newest that loaded the site stays: an older one may already be ending.
        """
        loaded = [pid for pid in running if self.state_of(pid)]
        stays = loaded[-1] if loaded else running[0]
        for surplus in running:
            if surplus != stays:
                print(f"Ending the gunicorn master {surplus}, left by an interrupted reload.")
                self.end(surplus, signal.SIGTERM, GRACEFUL_SECONDS)
        wait(lambda: self.has_its_pid_file(stays), PROMOTION_SECONDS)
        return stays

    def forget_the_dead(self) -> None:
        """Remove files of dead masters: gunicorn refuses a pid file whose number is used again."""
        for path in [*glob.glob(f"{glob.escape(self.place.tools)}/gunicorn-*.json"), self.pid_file]:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def has_its_pid_file(self, master: int) -> bool:
        return read(self.pid_file).strip() == str(master).encode()


def is_successor(pid: int, parent: int) -> bool:
    """Whether a process was started by its parent as its successor, by its environment."""
    return f"GUNICORN_PID={parent}".encode() in seen.as_executed(pid, "environ").split(b"\0")


def make_secret(place: Place) -> None:
    """Make what lets a request past the maintenance page, once for a site."""
    path = os.path.join(place.tools, "bypass")
    if not os.path.exists(path):
        import secrets  # late: it imports hashlib and random, and is needed once

        write(path, secrets.token_urlsafe(32))


def wait(is_done: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition is met; False if it is not met in time."""
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
