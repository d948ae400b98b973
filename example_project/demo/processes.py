"""The processes of the demo: started, started again when they die, and ended by their ids."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

TOP = Path(__file__).parent.parent.parent
PATIENCE = 15.0
"""Seconds that a process gets to end before it is killed."""

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before each restart of a process that keeps ending; after the last it is given up."""

LASTED = 60.0
"""Seconds after which a start counts as good: the next pause is the first again."""


@dataclass
class _Part:
    """One process, and how often it ended soon after its start."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    started: float = field(init=False)
    ended_early: int = 0
    due: float | None = None
    """The time of the next start, while it is not running."""

    given_up: bool = False

    def start(self) -> None:
        self.due = None
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=TOP,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Else Ctrl-C in the terminal would reach them, too; the demo ends them in order.
                start_new_session=True,
            )


class Processes:
    """The web server, the worker and others; leaving the context ends them.

    One that dies is started again, after a pause that grows as long as it dies soon. Each time
    `report` is called with a line that names the process and its log.
    """

    def __init__(
        self,
        folder: Path,
        report: Callable[[str], None] | None = None,
        pauses: Iterable[float] = PAUSES,
    ) -> None:
        self._folder = folder
        self._report = report or _print
        self._pauses = tuple(pauses)
        self._parts: list[_Part] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher")

    def __enter__(self) -> "Processes":
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._watcher.join()
        for part in self._parts:
            part.process.terminate()
        for part in self._parts:
            try:
                part.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()

    def start(self, name: str, *arguments: str) -> None:
        """Start a Python module; its output goes to `<name>.log`."""
        # The kernel ends it when the demo is killed: prctl(2), PR_SET_PDEATHSIG.
        command = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", *arguments]
        part = _Part(name, command, self._folder / f"{name}.log")
        part.log.write_bytes(b"")
        with self._lock:
            part.start()
            self._parts.append(part)

    def given_up(self) -> str:
        """Return the logs of the processes that were given up; blank if there are none."""
        with self._lock:
            return "\n".join(
                f"The {part.name} ended {part.ended_early} times:\n"
                + part.log.read_text(errors="replace")[-2000:]
                for part in self._parts
                if part.given_up
            )

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            with self._lock:
                for part in self._parts:
                    if not part.given_up:
                        self._look_at(part)

    def _look_at(self, part: _Part) -> None:
        if part.due is None:
            if (code := part.process.poll()) is not None:
                self._note_end(part, code)
        elif time.monotonic() >= part.due:
            try:
                part.start()
            except OSError as error:  # no memory, no process left, no room for the log
                part.due = time.monotonic() + PAUSES[-1]
                self._report(f"The {part.name} can't be started again yet: {error}")

    def _note_end(self, part: _Part, code: int) -> None:
        lasted = time.monotonic() - part.started
        part.ended_early = 1 if lasted >= LASTED else part.ended_early + 1
        how = f"exit {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        if part.ended_early > len(self._pauses):
            part.given_up = True
            self._report(
                f"The {part.name} ended ({how}), {part.ended_early} times in a row, and is not"
                f" started again: see {part.log}, correct the cause and start the demo again."
            )
            return
        pause = self._pauses[part.ended_early - 1]
        part.due = time.monotonic() + pause
        self._report(
            f"The {part.name} ended ({how}) and is started again in {pause:g} s; its log:"
            f" {part.log}"
        )


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def end_sites(folder: Path) -> None:
    """End the gunicorn of each site below the folder, by its pid file."""
    masters = [pid for path in sites_below(folder) if (pid := master_of(path))]
    for pid in masters:
        os.kill(pid, signal.SIGTERM)
    if not wait_for(lambda: not any(map(_runs, masters)), PATIENCE):
        for pid in filter(_runs, masters):
            os.kill(pid, signal.SIGKILL)


def sites_below(folder: Path) -> Iterator[Path]:
    """Yield the deploy path of each site that was deployed below the folder.

    From the disk: people add servers in the demo's admin, and remove some that still serve.
    """
    for path, folders, _ in os.walk(folder):
        if ".deploy" in folders:
            yield Path(path)


def master_of(deploy_path: Path) -> int:
    """Return the process id of a site's gunicorn; 0 if none runs."""
    try:
        pid = int((deploy_path / ".deploy/gunicorn.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    # After a crash the file stays, and another program may have got this id.
    own = {os.fsencode(path) for path in (deploy_path, deploy_path / ".deploy/processes.pyz")}
    return 0 if own.isdisjoint(words) else pid


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition became true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # a zombie has ended; see proc(5)
