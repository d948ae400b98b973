"""Units of systemd for the processes of a site: written, started, handed over, removed.

A template unit for each process, with an instance for each time it runs: `<site>-<process>@1`. What
serves on a socket has it from a socket unit, which keeps the requests that come in while the
process is restarted. gunicorn, as we run it ourselves, hands over to its successor instead.
"""

from __future__ import annotations

import getpass
import glob
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from . import seen
from .gunicorn import Gunicorn
from .place import Facts, Place, read, socket_file
from .supervisors import BOOTED, STARTED_BY, ServingError, State, call
from .wanted import Process, is_one_program

HEADER = "# Written by deploy_manager for {path}: changes here are lost."
SHOWN_LINES = 40

SERVICE = """\
{header}
[Unit]
Description={environment}: {name}
After=network-online.target
Wants=network-online.target
# A database that comes up later than this must not keep the site down.
StartLimitIntervalSec=0

[Service]
Type={type}
NotifyAccess=all
{user}WorkingDirectory={path}
Environment={by}=systemd
ExecStart={python} {program} launch {path} {name} %i
KillMode={kill_mode}
KillSignal=SIG{stop_signal}
TimeoutStartSec=90
TimeoutStopSec={stop_seconds}
Restart=always
RestartSec=1
UMask=0022
{memory}{sockets}
[Install]
WantedBy={target}
"""
SOCKET = """\
{header}
[Unit]
Description={environment}: the socket of {name}

[Socket]
ListenStream={listen}
SocketMode=0666
Backlog=2048
Service={service}

[Install]
WantedBy=sockets.target
"""


class Systemd:
    """systemd of the system, through sudo unless we are root; or of the account."""

    def __init__(self, place: Place, facts: Facts, of_the_account: bool) -> None:
        self.place = place
        self.facts = facts
        self.of_the_account = of_the_account
        self.name = "systemd-user" if of_the_account else "systemd"
        self.header = HEADER.format(path=place.path)
        home = os.path.expanduser("~/.config/systemd/user")
        self.folder = home if of_the_account else "/etc/systemd/system"
        self.as_root = [] if of_the_account or os.geteuid() == 0 else ["sudo", "-n"]

    # Names

    def stem(self, process: str) -> str:
        return f"{self.facts['unit_prefix']}-{process}"

    def service(self, process: Process, instance: str = "") -> str:
        return f"{self.stem(process.name)}@{instance}.service"

    def socket(self, process: Process) -> str:
        return f"{self.stem(process.name)}.socket"

    # Talking with systemd

    def ask(self, *words: str) -> str:
        return call("systemctl", *(["--user"] if self.of_the_account else []), *words)

    def tell(self, *words: str) -> None:
        if self.of_the_account:
            call("systemctl", "--user", *words)
        else:
            call(*self.as_root, "systemctl", *words)

    # What the main program asks for

    def bring(self, process: Process) -> None:
        changed = self._write(process)
        self._remove_surplus(process)
        if process.takes_a_socket:
            self._open_socket(process, self.socket(process) in changed)
        for instance in process.instances:
            unit = self.service(process, instance)
            self._enable(unit)
            if process.hands_over:
                self._hand_over(process, unit)
            else:
                # Not reload: its folder and its environment are those of its start.
                print(f"Restarting {unit}.", flush=True)
                self.tell("restart", unit)

    def start(self, process: Process, instance: str) -> None:
        if self._write(process):
            print(f"{self.service(process)} was not as we write it: written again.", flush=True)
        unit = self.service(process, instance)
        self._forget_failures(unit)
        self._enable(unit)
        self.tell("start", unit)

    def end_others(self, wanted: list[Process]) -> None:
        if not os.path.isdir(BOOTED):
            return
        keep = {self.service(process) for process in wanted}
        keep |= {self.socket(process) for process in wanted if process.takes_a_socket}
        gone = [name for name in self._own_files() if name not in keep]
        for name in sorted(gone):  # a service after its socket would be started by it again
            self._remove(name)
        if gone:
            self.tell("daemon-reload")

    def state_of(self, process: Process, instance: str) -> State:
        return state_of_unit(self.service(process, instance), self.of_the_account)

    def tail_of(self, process: Process, instance: str) -> str:
        own = ["--user"] if self.of_the_account else []
        words = [*self.as_root, "journalctl", *own, "--no-pager", "--quiet", "--output=cat"]
        unit = self.service(process, instance)
        with suppress(ServingError):
            return call(*words, f"--lines={SHOWN_LINES}", f"--unit={unit}").strip()
        return ""

    # Files of units

    def _write(self, process: Process) -> list[str]:
        """Write the units of a process; return those that are others than before.

        systemd takes limits and times to stop at once, and all else at the next start.
        """
        known = {
            "header": self.header,
            "environment": self.facts["environment"],
            "name": process.name,
            "path": self.place.path,
            "by": STARTED_BY,
        }
        memory, unit = process.memory, self.socket(process)
        texts = {
            self.service(process): SERVICE.format(
                # notify: gunicorn tells when it is up, and which process is its main one.
                type="notify" if process.hands_over else "exec",
                user="" if self.of_the_account else f"User={getpass.getuser()}\n",
                python=sys.executable,
                program=self.place.program,
                # A shell that ends would take its programs with it before they had their time.
                kill_mode="mixed" if is_one_program(process.command) else "control-group",
                stop_signal=process.stop_signal,
                stop_seconds=max(process.stop_seconds, 1),  # 0 would be without end
                memory=f"MemoryMax={memory}M\n" if memory else "",
                sockets=f"Sockets={unit}\n" if process.takes_a_socket else "",
                target="default.target" if self.of_the_account else "multi-user.target",
                **known,
            )
        }
        if process.takes_a_socket:
            listen = _listen_stream(process.bind)
            service = self.service(process, process.instances[0])
            texts[unit] = SOCKET.format(listen=listen, service=service, **known)
        changed = [name for name, text in texts.items() if self._put(name, text)]
        if changed:
            self.tell("daemon-reload")
        return changed

    def _put(self, name: str, text: str) -> bool:
        """Write the file of a unit unless it is there. Raises ServingError for another's."""
        path = os.path.join(self.folder, name)
        there = read(path).decode("utf-8", "replace")
        if there == text:
            return False
        if there and not there.startswith(self.header + "\n"):
            raise ServingError(
                f"{path} was not written for {self.place.path}: remove it, or rename the"
                " environment or the process."
            )
        if not self.as_root:
            os.makedirs(self.folder, exist_ok=True)
        import tempfile  # late: it takes long to import, for what few sites need

        with tempfile.NamedTemporaryFile("w", suffix=name) as file:
            file.write(text)
            file.flush()
            call(*self.as_root, "install", "-m", "644", file.name, path)
        return True

    def _own_files(self) -> list[str]:
        first = (self.header + "\n").encode()
        folder = glob.escape(self.folder)
        paths = [*glob.glob(f"{folder}/*.service"), *glob.glob(f"{folder}/*.socket")]
        return [os.path.basename(path) for path in paths if self._starts(path, first)]

    def _starts(self, path: str, first: bytes) -> bool:
        with suppress(OSError), open(path, "rb") as file:
            return file.read(len(first)) == first
        return False

    def _remove(self, name: str) -> None:
        """Stop a unit of ours, and all its instances, and remove its file."""
        units = [name] if name.endswith(".socket") else self._instances(name)
        for unit in units:
            print(f"Ending {unit}: it is not wanted here any more.", flush=True)
            self.tell("disable", "--now", "--quiet", unit)
        path = os.path.join(self.folder, name)
        call(*self.as_root, "rm", "-f", "--", path)

    def _remove_surplus(self, process: Process) -> None:
        wanted = {self.service(process, instance) for instance in process.instances}
        for unit in self._instances(self.service(process)):
            if unit not in wanted:
                print(f"Ending {unit}: fewer of them are wanted.", flush=True)
                self.tell("disable", "--now", "--quiet", unit)

    def _instances(self, template: str) -> list[str]:
        """Return the instances of a template that are enabled or known to systemd."""
        stem = template[: -len(".service")]
        listed = self.ask("list-units", "--all", "--plain", "--no-legend", f"{stem}*.service")
        files = self.ask("list-unit-files", "--plain", "--no-legend", f"{stem}*.service")
        found = {line.split()[0] for line in (listed + files).splitlines() if line.strip()}
        pattern = os.path.join(glob.escape(self.folder), "*.wants", f"{glob.escape(stem)}*.service")
        found |= {os.path.basename(path) for path in glob.glob(pattern)}
        return sorted(found - {template})

    # Bringing it to the current release

    def _open_socket(self, process: Process, has_changed: bool) -> None:
        unit = self.socket(process)
        self._enable(unit)
        if has_changed and self._is_active(unit):
            # Only while it does not listen can it be given another address.
            self.tell("stop", unit, self.service(process, "1"))
        if not self._is_active(unit):
            self.tell("stop", self.service(process, "1"))
            try:
                self.tell("start", unit)
            except ServingError:
                taken = [seen.name_of(pid) for pid in seen.listeners_on(process.bind)]
                by = f" by {', '.join(taken)}" if taken else ""
                raise ServingError(
                    f"{unit} can't listen on {process.bind}: is it taken{by}?"
                ) from None

    def _hand_over(self, process: Process, unit: str) -> None:
        gunicorn = Gunicorn(self.place, process.bind, lambda: self._start(unit))
        main = state_of_unit(unit, self.of_the_account).processes
        for master in gunicorn.masters():
            if master not in main:
                gunicorn.end_gracefully(master)
        if main and not gunicorn.masters():
            self.tell("stop", unit)  # it runs another program: the kind of the process has changed
        try:
            gunicorn.reload()
        except ServingError as error:
            raise ServingError(f"{error}\n{self.tail_of(process, '1')}".strip()) from None

    def _start(self, unit: str) -> Callable[[], bool]:
        """Start gunicorn's unit; returns once it listens. Raises ServingError."""
        self._forget_failures(unit)
        try:
            self.tell("start", unit)
        except ServingError:
            self.tell("stop", unit)  # else it would be tried again and again
            raise ServingError("The new release does not start.") from None
        return lambda: self._is_active(unit)

    def _forget_failures(self, unit: str) -> None:
        if self._property(unit, "ActiveState") == "failed":
            self.tell("reset-failed", unit)

    def _enable(self, unit: str) -> None:
        self.tell("enable" if self.facts["at_boot"] else "disable", "--quiet", unit)

    def _is_active(self, unit: str) -> bool:
        return self._property(unit, "ActiveState") == "active"

    def _property(self, unit: str, name: str) -> str:
        return self.ask("show", f"--property={name}", "--value", "--", unit).strip()


def state_of_unit(unit: str, of_the_account: bool) -> State:
    """Return what systemd says of a unit, ours or another's. Raises ServingError."""
    own = ["--user"] if of_the_account else []
    names = "ActiveState,SubState,MainPID,NRestarts,ControlGroup"
    shown = call("systemctl", *own, "show", f"--property={names}", "--", unit)
    known = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    state, restarts = known.get("ActiveState", ""), known.get("NRestarts", "0")
    if state not in ("active", "reloading"):
        times = f", restarted {restarts} times" if restarts not in ("", "0") else ""
        return State(f"{unit} is {state} ({known.get('SubState', 'unknown')}){times}.")
    main = known.get("MainPID", "0")
    tree = seen.with_children(int(main)) if main.isdigit() and main != "0" else ()
    processes = {*seen.in_group(known.get("ControlGroup", "")), *tree}
    mains = (int(main),) if main.isdigit() and main != "0" else ()
    return State("", tuple(sorted(processes)), f"{main} {restarts}", mains)


def _listen_stream(bind: str) -> str:
    """Return an address as ListenStream= takes it: a path, or a number and a port, but no name."""
    if path := socket_file(bind):
        return path
    host, _colon, port = bind.rpartition(":")
    try:
        name = host.strip("[]")
        number = name if ":" in name else socket.gethostbyname(name)
    except OSError as error:
        raise ServingError(f"{bind}: {error.strerror}") from None
    return f"[{number}]:{port}" if ":" in number else f"{number}:{port}"
