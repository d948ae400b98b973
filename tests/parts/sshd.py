"""A real sshd on loopback, its host key and the key that opens it.

As root the tests log in to an unprivileged account of their own, otherwise to the current one.
"""

import contextlib
import fcntl
import functools
import getpass
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from deploy_manager.hosts.address import Address
from tests.parts import ways_out
from tests.parts.processes import free_port

pytest_plugins = ["tests.parts.hosts", "tests.parts.wire"]

ACCOUNT = "dm-tests"
ACCOUNT_HOME = Path("/var/lib") / ACCOUNT
PROGRAM = Path("/usr/sbin/sshd")


@dataclass(frozen=True)
class Sshd:
    """A running sshd."""

    address: str
    port: int
    user: str
    host_key: str
    """The line to pin: `ssh-ed25519 AAAA…`."""

    key_file: Path
    """The private key of the client."""

    home: Path
    """A fresh folder that the account owns, and its HOME."""

    log_file: Path
    process: "subprocess.Popen[bytes]"

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

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def saw_a_login(self) -> bool:
        """Whether anybody asked for authentication (RFC 4252: messages 5 and 50), let in or not.

        Only sshd at LogLevel DEBUG3 tells: ask a server that was started so, once all of its
        connections were closed.
        """
        assert "debug3" in self.log, "this sshd was not started with LogLevel DEBUG3"
        deadline = time.monotonic() + 5
        while _descendants(self.process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        return re.search(r"receive packet: type (5|50)\b", self.log) is not None

    def cut_connections(self) -> None:
        """Kill what serves the connections at hand, as a crash would; it goes on listening."""
        for monitor in _children(self.process.pid):
            # By descent: since OpenSSH 10 they have a name of their own. As root each has a helper
            # of the same name, without rights; what else it started are the commands.
            alike = [pid for pid in _children(monitor) if _name_of(pid) == _name_of(monitor)]
            for pid in (*alike, monitor):
                _kill(pid, signal.SIGKILL)

    def new_folder(self) -> Path:
        """Return a folder of the account's own, of a name that no other test has had."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        shutil.chown(folder, self.user)
        return folder

    def stop(self) -> None:
        """End it and its connections."""
        connections = _descendants(self.process.pid)
        self.process.terminate()
        self.process.wait(10)
        for pid in connections:
            _kill(pid, signal.SIGTERM)


StartSshd = Callable[..., Sshd]


@pytest.fixture(scope="session")
def ssh_key() -> Iterator[Path]:
    """The private key that every sshd of the tests lets in."""
    with open_folder() as folder:
        yield make_key(folder / "client")


@pytest.fixture(scope="session")
def sshd(ssh_key: Path) -> Iterator[Sshd]:
    """One sshd for all tests that only need a server."""
    with running_sshd(ssh_key) as server:
        yield server


@pytest.fixture
def start_sshd(ssh_key: Path) -> Iterator[StartSshd]:
    """A maker of servers of a test's own; keywords are those of sshd_config(5), None drops one.

    `programs` is a folder whose programs go before those of the machine.
    """
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(running_sshd(ssh_key, **options))


@pytest.fixture
def ssh_settings(settings: Settings, ssh_key: Path) -> Settings:
    """Settings under which the worker logs in by the key of the tests."""
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SSH_KEY_FILE": ssh_key}
    return settings


@contextlib.contextmanager
def running_sshd(ssh_key: Path, **options: str | None) -> Iterator[Sshd]:
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} is missing: apt-get install openssh-server")
    user = _account()
    with open_folder() as folder:
        server = _start(folder, user, ssh_key, options)
        try:
            yield server
        finally:
            server.stop()


def _start(folder: Path, user: str, ssh_key: Path, options: dict[str, str | None]) -> Sshd:
    home = folder / "home"
    home.mkdir(mode=0o755)
    shutil.chown(home, user)
    listen = options.pop("ListenAddress", None) or "127.0.0.1"
    key_type = options.pop("key_type", None) or "ed25519"
    programs = options.pop("programs", None)
    host_key = make_key(folder / "host", key_type)
    port = free_port(listen)
    configuration = {
        "ListenAddress": f"{listen}:{port}",
        "HostKey": str(host_key),
        "AuthorizedKeysFile": str(_authorize(folder, ssh_key)),
        **_defaults(user, home, programs),
        **options,
    }
    lines = [f"{name} {value}\n" for name, value in configuration.items() if value is not None]
    (folder / "sshd_config").write_text("".join(lines))
    log_file = folder / "sshd.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "-D", "-e", "-f", folder / "sshd_config"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    _wait_until_it_listens(process, log_file)
    line = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
    return Sshd(listen, port, user, line, ssh_key, home, log_file, process)


def _defaults(user: str, home: Path, programs: str | None) -> dict[str, str]:
    passed_on = ways_out.environment().items()
    words = [f'"{name}={value}"' for name, value in passed_on if '"' not in value]
    words += [f'"PATH={programs}:/usr/local/bin:/usr/bin:/bin"'] if programs else []
    defaults = {
        "PidFile": "none",
        "StrictModes": "no",  # /tmp is writable for everybody
        "UsePAM": "no",
        "UseDNS": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "AllowUsers": user,
        "PrintMotd": "no",
        "LogLevel": "VERBOSE",
        "MaxStartups": "200",
        "Subsystem": f"sftp internal-sftp -d {home}",
        "SetEnv": " ".join([f'"HOME={home}"', *words]),
    }
    if _version() >= (9, 8):
        defaults["PerSourcePenalties"] = "no"
    return defaults


@functools.cache
def _version() -> tuple[int, int]:
    shown = subprocess.run([PROGRAM, "-V"], capture_output=True, text=True, check=False)
    found = re.search(r"OpenSSH_(\d+)\.(\d+)", shown.stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", log_file: Path) -> None:
    deadline = time.monotonic() + 10
    while "Server listening" not in log_file.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"sshd did not start:\n{log_file.read_text()}")
        time.sleep(0.01)


def _account() -> str:
    """Return the account to log in to; as root, make it if it is not there."""
    if os.geteuid() != 0:
        return getpass.getuser()
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (Path(tempfile.gettempdir()) / f"{ACCOUNT}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(ACCOUNT).pw_name
        # The password * fits nothing; the usual ! would make sshd call the account locked.
        subprocess.run(
            [
                *("useradd", "--system", "--user-group", "--password", "*", "--shell", "/bin/sh"),
                *("--no-create-home", "--home-dir", str(ACCOUNT_HOME), ACCOUNT),
            ],
            check=True,
        )
        ACCOUNT_HOME.mkdir(mode=0o755, exist_ok=True)
        shutil.chown(ACCOUNT_HOME, ACCOUNT, ACCOUNT)
    return ACCOUNT


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other accounts may look into, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="dm-sshd-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def make_key(path: Path, key_type: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", key_type, "-N", "", "-f", path], check=True)
    return path


def _authorize(folder: Path, ssh_key: Path) -> Path:
    authorized = folder / "authorized_keys"
    shutil.copy(ssh_key.with_suffix(".pub"), authorized)
    authorized.chmod(0o644)
    return authorized


def _descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    return [process for child in _children(pid) for process in (child, *_descendants(child))]


def _children(pid: int) -> list[int]:
    return [
        int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == pid
    ]


def _parent(stat: Path) -> int:
    with contextlib.suppress(OSError):
        return int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return ""


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
