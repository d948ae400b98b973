"""Our own starter, for servers without systemd: it starts processes and leaves them running.

Nothing starts them again if they end, but the next deployment, and `manage.py` if the environment
says so. After a reboot cron does, where it runs.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import seen
from .gunicorn import Gunicorn, wait
from .place import Facts, Place, end_of, read, write
from .supervisors import STARTED_BY, ServingError, State
from .wanted import Process, is_one_program

LARGEST_LOG = 10 * 1024 * 1024
"""Bytes. A log above is set aside when its process is started; the one before that is dropped."""

TAIL_BYTES = 8 * 1024
SETTLED_SECONDS = 1.0
QUICK_SECONDS = 2.0
REMARK = "# deploy_manager"


class Starter:
    """Processes that were started by us, in sessions of their own."""

    name = "starter"

    def __init__(self, place: Place, facts: Facts) -> None:
        self.place = place
        self.facts = facts
        self.folder = os.path.join(place.tools, "processes")

    def bring(self, process: Process) -> None:
        if process.hands_over:
            if os.path.exists(self._file(process.name, "1")):
                self._end(process.name, "1")  # of another kind: a gunicorn of ours has no such file
            gunicorn = self._gunicorn(process)
            try:
                gunicorn.await_pid_file(gunicorn.reload())
            except ServingError as error:
                raise ServingError(f"{error}\n{gunicorn.log_tail()}".strip()) from None
            return
        for instance in process.instances:
            self._end(process.name, instance)
            self.start(process, instance)

    def start(self, process: Process, instance: str) -> None:
        if process.hands_over:
            self._gunicorn(process).reload()
            return
        print(f"Starting {process.name} {instance}.", flush=True)
        began = self._popen(process, instance)
        state = {
            "pid": began.pid,
            "started": seen.started_at(began.pid),
            "stop_signal": process.stop_signal,
            "stop_seconds": process.stop_seconds,
            "is_one_program": is_one_program(process.command),
        }
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        write(self._file(process.name, instance), json.dumps(state))
        if wait(lambda: began.poll() is not None, SETTLED_SECONDS):
            tail = self.tail_of(process, instance)
            raise ServingError(f"{process.name} ended at once.\n{tail}".strip())

    def end_others(self, wanted: list[Process]) -> None:
        keep = {(process.name, each) for process in wanted for each in process.instances}
        for name, instance in self._stored():
            if (name, instance) not in keep:
                self._end(name, instance)
        if not any(process.hands_over for process in wanted):
            gunicorn = Gunicorn(self.place)
            for master in gunicorn.masters():
                if f"{STARTED_BY}=systemd".encode() not in seen.as_executed(master, "environ"):
                    gunicorn.end_gracefully(master)

    def state_of(self, process: Process, instance: str) -> State:
        if process.hands_over:
            masters = self._gunicorn(process).masters()
            if not masters:
                return State("gunicorn does not run.")
            own = tuple(self._gunicorn(process).processes())
            return State("", own, str(masters), tuple(masters))
        pid = self._pid(process.name, instance)
        if not pid:
            return State(f"{process.name} {instance} does not run.")
        return State("", tuple(seen.with_children(pid)), str(pid), (pid,))

    def tail_of(self, process: Process, instance: str) -> str:
        if process.hands_over:
            path = os.path.join(self.place.tools, "gunicorn.log")
        else:
            path = self._log(process.name, instance)
        return end_of(read(path), TAIL_BYTES)

    def keep_after_reboot(self) -> str:
        """Have cron start the site after a reboot; return what is to be said of that."""
        line = shlex.join([sys.executable, self.place.program, "boot", self.place.path])
        # cron takes % for the end of the line.
        wanted = os.fsencode(f"@reboot {line} {REMARK}".replace("%", "\\%"))
        if not _cron_runs():
            return "Nothing starts these processes after a reboot: neither systemd nor cron runs."
        try:
            known = _crontab()
            if wanted in known:
                return ""
            _write_crontab([*self._without_ours(known), wanted])
        except ServingError as error:
            return f"Nothing starts these processes after a reboot: {error}"
        return "cron starts these processes after a reboot."

    def forget_after_reboot(self) -> None:
        """Take our line out of the account's crontab."""
        with suppress(ServingError):
            known = _crontab()
            others = self._without_ours(known)
            if others != known:
                _write_crontab(others)

    def _without_ours(self, lines: list[bytes]) -> list[bytes]:
        own = os.fsencode(f" boot {shlex.quote(self.place.path)} {REMARK}".replace("%", "\\%"))
        return [each for each in lines if not each.endswith(own)]

    # Files and processes

    def _gunicorn(self, process: Process) -> Gunicorn:
        return Gunicorn(self.place, process.bind, lambda: _is_alive(self._popen(process, "1")))

    def _popen(self, process: Process, instance: str) -> subprocess.Popen[bytes]:
        path = self._log(process.name, instance)
        if process.hands_over:
            path = os.path.join(self.place.tools, "gunicorn.log")
        else:
            _set_aside(path)
        words = [sys.executable, self.place.program, "launch", self.place.path]
        # By these a server takes over sockets of a master or of systemd, or reports to it, which
        # are those of whoever started us.
        theirs = ("GUNICORN_", "LISTEN_", "NOTIFY_")
        passed = {name: text for name, text in os.environ.items() if not name.startswith(theirs)}
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            return subprocess.Popen(
                [*words, process.name, instance],
                cwd=self.place.path,
                env={**passed, "PWD": self.place.path, STARTED_BY: self.name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name: str, instance: str) -> None:
        """End an instance and all that it started, by force after its time."""
        text = read(self._file(name, instance))
        gone = {"stop_signal": "TERM", "stop_seconds": QUICK_SECONDS}
        state: dict[str, Any] = json.loads(text) if text else gone
        by = signal.Signals[f"SIG{state['stop_signal']}"]
        until = time.monotonic() + state["stop_seconds"]
        pid = self._pid(name, instance)
        if pid and state.get("is_one_program", True):
            print(f"Ending {name} {instance}, process {pid}.", flush=True)
            _send(pid, by)
            wait(lambda: self._pid(name, instance) != pid, state["stop_seconds"])
        # What it left behind, too, or the programs of a line of sh: by variables that all have.
        for left in self._marked(name, instance):
            _send(left, by)
        wait(lambda: not self._marked(name, instance), max(QUICK_SECONDS, until - time.monotonic()))
        for left in self._marked(name, instance):
            _send(left, signal.SIGKILL)
        self._forget(name, instance)

    def _marked(self, name: str, instance: str) -> list[int]:
        """Return the processes that have this instance's variables."""
        values = {"DEPLOY_PATH": self.place.path, "DEPLOY_PROCESS": f"{name}@{instance}"}
        wanted = {os.fsencode(f"{key}={value}") for key, value in values.items()}
        return [
            pid
            for pid in seen.all_processes()
            if wanted <= set(seen.as_executed(pid, "environ").split(b"\0"))
        ]

    def _forget(self, name: str, instance: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._file(name, instance))

    def _stored(self) -> list[tuple[str, str]]:
        found = []
        with suppress(FileNotFoundError):
            for each in os.listdir(self.folder):
                if each.endswith(".json"):
                    name, _at, instance = each[: -len(".json")].rpartition("@")
                    found.append((name, instance))
        return sorted(found)

    def _pid(self, name: str, instance: str) -> int:
        """Return the process that was started; 0 if it is gone: its number may be another's."""
        text = read(self._file(name, instance))
        state = json.loads(text) if text else {"pid": 0}
        pid = int(state["pid"])
        return pid if pid and seen.started_at(pid) == state["started"] else 0

    def _file(self, name: str, instance: str) -> str:
        return os.path.join(self.folder, f"{name}@{instance}.json")

    def _log(self, name: str, instance: str) -> str:
        folder = os.path.join(self.place.tools, "log")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return os.path.join(folder, f"{name}@{instance}.log")


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _set_aside(log: str) -> None:
    with suppress(FileNotFoundError):
        if os.path.getsize(log) > LARGEST_LOG:
            os.replace(log, f"{log}.1")


def _is_alive(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    return lambda: process.poll() is None


def _crontab() -> list[bytes]:
    """Return the lines of the account's crontab, as they are. Raises ServingError."""
    try:
        done = subprocess.run(
            ["crontab", "-l"],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise ServingError(f"crontab: {error.strerror}") from None
    # Any other failure is no empty crontab: to write one would take away what is there.
    if done.returncode and b"no crontab for" not in done.stderr:
        raise ServingError(f"crontab -l: {os.fsdecode(done.stderr).strip()}")
    return [] if done.returncode else done.stdout.splitlines()


def _write_crontab(lines: list[bytes]) -> None:
    content = b"".join(line + b"\n" for line in lines)
    done = subprocess.run(["crontab", "-"], input=content, capture_output=True, check=False)
    if done.returncode:
        raise ServingError(f"crontab: {os.fsdecode(done.stderr).strip()}")


def _cron_runs() -> bool:
    names = {b"cron", b"crond"}
    return any(seen.read(pid, "comm").strip() in names for pid in seen.all_processes())
