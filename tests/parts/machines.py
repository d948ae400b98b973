"""Real Debian servers: systemd as process 1, sshd, sudo, a disk of their own that can be rebooted.

They are containers of systemd-nspawn on overlays of a base system. What a machine mounts, it mounts
for itself only, and what runs in it is in a control group of its own: it ends without a trace.

Kernel, clock, memory and network are this machine's: whatever a test serves there has to listen on
the machine's own address, never on all.
"""

import fcntl
import os
import shlex
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pytest

from deploy_manager.hosts.address import Address
from tests.parts import control_groups, ways_out
from tests.parts.debian import ACCOUNT, LOGINS, base_system, cache_folder, remove, site_packages
from tests.parts.processes import PATIENCE, find_program
from tests.parts.sshd import make_key

NUMBERS = range(10, 255)
"""The last part of machines' addresses; tests/test_over_ssh.py takes lower ones."""

LOCKS = Path("/run/deploy_manager_tests")
"""A file for each number, locked by its owner, with the folder that it has.

Addresses are this machine's, so all checkouts share them. Only root may write to /run.
"""

NSPAWN_OWN = "/run/systemd/nspawn"
"""Where systemd-nspawn keeps locks and folders, and leaves them if it is killed."""

PACKAGES = "/opt/packages"
"""Where a machine sees packages for its sites: without an index, and at once."""

ROOTS_LOGINS = Path("/root") / ".ssh/authorized_keys"
PORT = 2222
"""Not 22: this machine's own sshd may listen there, on every address."""


@dataclass(eq=False)
class Machine:
    """A machine of a test: off or on, on the same disk."""

    number: int
    release: str
    folder: Path
    """Its disk, console and keys, on this machine."""

    key_file: Path
    """The private key that opens its accounts `deploy` and `root`."""

    host_key: str
    """The line to pin: `ssh-ed25519 AAAA…`."""

    lock: IO[str]
    user: str = ACCOUNT
    port: int = PORT
    home: PurePosixPath = PurePosixPath("/home") / ACCOUNT
    bare: bool = False
    """Whether it is as a provider hands it over: without Python, sudo and `deploy`."""

    left_no_trace: bool = False
    """Set by a test, as its last line, if the next one may have this machine as it is."""

    process: "subprocess.Popen[bytes] | None" = None
    """The systemd-nspawn that it runs in."""

    @property
    def name(self) -> str:
        return _name(self.number)

    @property
    def address(self) -> str:
        return f"127.0.9.{self.number}"

    @property
    def is_on(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def boot_id(self) -> str:
        """What is another one after each boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def address_for(self, name: str, **changes: Any) -> Address:
        """Return the address of this server under a name, its key pinned unless changed."""
        address = Address(
            name=name,
            hostname=self.address,
            port=self.port,
            user=self.user,
            host_key=self.host_key,
        )
        return replace(address, **changes)

    def run(self, command: str, user: str = ACCOUNT) -> str:
        """Return what a command of `deploy` or `root` prints, for a test's own look.

        By the command ssh, not by our own hosts. Raises AssertionError if it fails.
        """
        done = self._ssh(command, user)
        assert done.returncode == 0, f"{command!r} on {self.name}: {done.stdout}{done.stderr}"
        return done.stdout

    def switch_on(self) -> None:
        """Start it; `wait_until_ready` waits until accounts are let in.

        It ends with the thread that calls this: see PR_SET_PDEATHSIG in prctl(2).
        """
        with (self.folder / "console.log").open("ab") as console:
            self.process = subprocess.Popen(
                ["sh", "-c", self._start()],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until its account can log in; fails the test with what the console shows."""
        until = time.monotonic() + PATIENCE
        while not (self._is_listening() and self._ssh("true", self.user).returncode == 0):
            if not self.is_on or time.monotonic() > until:
                console = (self.folder / "console.log").read_text(errors="replace")
                pytest.fail(f"{self.name} ({self.release}) did not start:\n{console[-5000:]}")
            time.sleep(0.05)

    def power_off(self) -> None:
        """Shut it down in order, as `systemctl poweroff` does."""
        assert self.process is not None
        self.process.terminate()  # which systemd-nspawn hands on as --kill-signal
        self.process.wait(PATIENCE)
        control_groups.end(self.name)

    def cut_power(self) -> None:
        """End all of its processes at once.

        What they wrote is on its disk even so: unlike a real one, the kernel goes on.
        """
        control_groups.end(self.name)
        if self.process is not None:
            self.process.wait(PATIENCE)

    def reboot(self) -> None:
        """Shut it down in order and start it again; returns when it is ready."""
        self.power_off()
        self.switch_on()
        self.wait_until_ready()

    def power_cycle(self) -> None:
        """Cut its power and start it again; returns when it is ready."""
        self.cut_power()
        self.switch_on()
        self.wait_until_ready()

    def _start(self) -> str:
        """Return the shell's text that becomes systemd-nspawn, in groups and mounts of its own."""
        program = find_program("systemd-nspawn", "systemd-container")
        base = base_system(self.release, self.bare)
        nspawn = [
            program,
            *("--quiet", "--settings=no", "--link-journal=no"),  # nothing of this machine's systemd
            *("--register=no", "--keep-unit"),  # which need not be there
            *(f"--machine={self.name}", f"--hostname={self.name}"),
            *("--directory=root", "--boot", "--kill-signal=SIGRTMIN+4"),
            *(f"--bind-ro={path}" for path in _missing(base, ways_out.folders())),
            f"--bind-ro={site_packages(self.release)}:{PACKAGES}",
        ]
        layers = f"lowerdir={base},upperdir=disk,workdir=work"
        inside = [
            "set -e",
            shlex.join(["mount", "-t", "overlay", "overlay", "-o", layers, "root"]),
            f"mount -t tmpfs tmpfs {NSPAWN_OWN}",
            # If the tests are killed, it shuts down by itself.
            f"exec setpriv --pdeathsig TERM {shlex.join(nspawn)}",
        ]
        unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(inside)]
        joined = [group / "cgroup.procs" for group in control_groups.make(self.name)]
        outside = [
            "set -e",
            f"cd {shlex.quote(str(self.folder))}",
            *(f"echo $$ >{shlex.quote(str(file))}" for file in joined),
            f"mkdir -p {NSPAWN_OWN}",
            f"exec {shlex.join(unshare)}",
        ]
        return "\n".join(outside)

    def _is_listening(self) -> bool:
        with suppress(OSError), socket.create_connection((self.address, self.port), 1):
            return True
        return False

    def _ssh(self, command: str, user: str) -> "subprocess.CompletedProcess[str]":
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        return subprocess.run(
            [
                *("ssh", "-F", "none", "-i", str(self.key_file), "-p", str(self.port), *words),
                *(f"{user}@{self.address}", command),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )


class Pool:
    """The machines of this process.

    One that a test was given is never given to another, unless the test said at its end that it
    left no trace.
    """

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._all: list[Machine] = []
        self._idle: list[Machine] = []
        clear_left_behind()

    def take(self, count: int, release: str, bare: bool = False) -> list[Machine]:
        """Return machines that are ready."""
        kind = (release, bare)
        taken = [each for each in self._idle if (each.release, each.bare) == kind][:count]
        self._idle = [machine for machine in self._idle if machine not in taken]
        new = [self._build(release, bare) for _ in range(count - len(taken))]
        for machine in new:
            machine.switch_on()
        for machine in new:
            machine.wait_until_ready()
        return taken + new

    def give_back(self, machine: Machine) -> None:
        if machine.left_no_trace and machine.is_on:
            machine.left_no_trace = False
            self._idle.append(machine)
        else:
            self._scrap(machine)

    def end(self) -> None:
        """End all machines, those of tests that failed to start one too."""
        for machine in list(self._all):
            self._scrap(machine)

    def _build(self, release: str, bare: bool) -> Machine:
        number, lock = _claim_number()
        folder = _make_folder(number, lock)
        host_key = _write_disk(number, folder, self._key_file, ROOTS_LOGINS if bare else LOGINS)
        machine = Machine(number, release, folder, self._key_file, host_key, lock)
        if bare:
            machine.bare, machine.user, machine.home = True, "root", PurePosixPath("/root")
        self._all.append(machine)
        return machine

    def _scrap(self, machine: Machine) -> None:
        machine.cut_power()
        _clear(machine.number, machine.lock)
        machine.lock.close()
        self._all.remove(machine)


MakeMachines = Callable[..., list[Machine]]


@pytest.fixture(scope="session")
def machine_pool(ssh_key: Path) -> Iterator[Pool]:
    """The machines of this process, ended with it."""
    pool = Pool(ssh_key)
    yield pool
    pool.end()


@pytest.fixture
def machines(machine_pool: Pool) -> Iterator[MakeMachines]:
    """A giver of machines that are ready: `machines(2)`, `machines(1, release="trixie")`.

    With `bare=True` they have what a provider hands over: sshd, systemd, and root's key.
    """
    given: list[Machine] = []

    def give(count: int, release: str = "bookworm", bare: bool = False) -> list[Machine]:
        taken = machine_pool.take(count, release, bare)
        given.extend(taken)
        return taken

    yield give
    for machine in given:
        machine_pool.give_back(machine)


@pytest.fixture
def machine(machines: MakeMachines) -> Machine:
    """A machine of Debian 12 that is ready."""
    return machines(1)[0]


def clear_left_behind() -> None:
    """End and remove the machines of runs that were killed: their locks are free."""
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    for file in LOCKS.iterdir():
        if lock := _try_lock(int(file.name)):
            _clear(int(file.name), lock)
            lock.close()


def _claim_number() -> tuple[int, IO[str]]:
    for number in NUMBERS:
        if lock := _try_lock(number):
            _clear(number, lock)
            return number, lock
    pytest.fail(f"All of the {len(NUMBERS)} addresses of machines are in use.")


def _try_lock(number: int) -> IO[str] | None:
    """Lock a number until the file is closed, at the latest by the end of this process."""
    lock = (LOCKS / str(number)).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _clear(number: int, lock: IO[str]) -> None:
    """Remove what an earlier owner of a number left behind."""
    control_groups.end(_name(number))
    lock.seek(0)
    if folder := lock.read():
        remove(Path(folder))
    lock.truncate(0)


def _make_folder(number: int, lock: IO[str]) -> Path:
    """Make a machine's folder: in TMPDIR if it is set, as by script/test, which takes memory.

    An overlay has to be able to write there: see `cache_folder`.
    """
    place = Path(os.environ.get("TMPDIR") or cache_folder())
    folder = place / "machines" / str(number)
    lock.write(str(folder))
    lock.flush()
    for name in ("disk", "work", "root"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o700)  # tests log in with keys and settings of this machine
    return folder


def _name(number: int) -> str:
    return f"dm-tests-{number}"


def _write_disk(number: int, folder: Path, key_file: Path, logins: Path) -> str:
    """Write all that differs from the base system; return the host key."""
    address, ssh = f"127.0.9.{number}", "etc/ssh"
    files = {
        "etc/hostname": f"{_name(number)}\n",
        "etc/hosts": f"127.0.0.1 localhost\n{address} {_name(number)}\n",
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        # For logins, by pam_env(8); it takes the rest of the line as it is.
        "etc/environment": "".join(f"{k}={v}\n" for k, v in ways_out.environment().items()),
        f"{ssh}/sshd_config.d/listen.conf": f"ListenAddress {address}:{PORT}\n",
        str(logins).lstrip("/"): key_file.with_suffix(".pub").read_text(),
    }
    for path, text in files.items():
        (folder / "disk" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "disk" / path).write_text(text)
    made = make_key(folder / "disk" / ssh / "ssh_host_ed25519_key").with_suffix(".pub")
    host_key = " ".join(made.read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[{address}]:{PORT} {host_key}\n")
    return host_key


def _missing(base: Path, paths: list[Path]) -> list[Path]:
    """Return the paths that are not on a base system."""
    return [path for path in paths if not (base / str(path).lstrip("/")).exists()]
