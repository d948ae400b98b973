"""What may supervise the processes of a site, and which of them does on this server."""

from __future__ import annotations

import getpass
import os
import subprocess
from typing import NamedTuple, Protocol

from .wanted import Process

BOOTED = "/run/systemd/system"
"""There if systemd is process 1: sd_booted(3)."""

STARTED_BY = "DEPLOY_STARTED_BY"
"""The variable that says whether a process was started by a unit or by our own starter."""

LINGERING = "/var/lib/systemd/linger"
"""Has a file for each account whose systemd runs without a login: loginctl(1)."""


class ServingError(Exception):
    """The reason why a process of the site does not run as it should."""


class State(NamedTuple):
    """What a supervisor says of what it runs."""

    problem: str = ""
    """Blank: it runs."""

    processes: tuple[int, ...] = ()
    restarts: str = ""
    """Another text after each restart."""

    mains: tuple[int, ...] = ()
    """Those that the supervisor itself has started."""


class Supervisor(Protocol):
    """systemd, of the system or of the account; or our own starter."""

    name: str

    def bring(self, process: Process) -> None:
        """Make a process run the current release. Raises ServingError; the old one may be gone."""

    def start(self, process: Process, instance: str) -> None:
        """Start an instance that is down, without touching others. Raises ServingError."""

    def end_others(self, wanted: list[Process]) -> None:
        """End what was started here for this site and is not wanted any more."""

    def state_of(self, process: Process, instance: str) -> State: ...

    def tail_of(self, process: Process, instance: str) -> str:
        """Return the end of what it printed."""


def choose(wanted: str) -> str:
    """Return the name of the supervisor: the one wanted, or the best that this server has.

    Raises ServingError if the one wanted is not here.
    """
    if wanted == "auto":
        return _best()
    if wanted != "starter" and not os.path.isdir(BOOTED):
        raise ServingError(
            "systemd does not run here: choose the own starter as the environment's supervisor."
        )
    if wanted == "systemd-user" and not is_lingering():
        raise ServingError(
            "Units of this account end with its last login, since it does not linger: run"
            f" `loginctl enable-linger {getpass.getuser()}` as root, once."
        )
    return wanted


def _best() -> str:
    if not os.path.isdir(BOOTED):
        return "starter"
    if os.geteuid() == 0:
        return "systemd"
    if is_lingering():
        return "systemd-user"
    return "systemd" if _may_sudo() else "starter"


def is_lingering() -> bool:
    return os.path.exists(os.path.join(LINGERING, getpass.getuser()))


_SUDO: dict[str, str] = {}
"""The account's password, in memory only, if sudo asks for one."""


def become_root_with(password: str) -> None:
    """Give sudo this password from now on; blank: it asks for none."""
    _SUDO["password"] = password


def _may_sudo() -> bool:
    if _SUDO.get("password"):
        return True
    try:
        done = subprocess.run(
            ["sudo", "-n", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def call(*words: str) -> str:
    """Return what a program prints. Raises ServingError with its own words if it fails."""
    own = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    environment = {**os.environ, "XDG_RUNTIME_DIR": own, "LC_ALL": "C"}
    password = _SUDO.get("password", "") if words[:2] == ("sudo", "-n") else ""
    if password:
        words = ("sudo", "-S", "-p", "", *words[2:])
    try:
        done = subprocess.run(
            words,
            input=f"{password}\n" if password else "",
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ServingError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        raise ServingError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
