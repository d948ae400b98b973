"""Make a site's gunicorn serve the release that is `current`. Runs on the server, Python 3.8+.

Reads JSON: deploy_path, launcher (path of serve.py as it was sent), and the facts that serve.py
needs: folder, wsgi, settings, workers, bind; or deploy_path, and stop or again: gunicorn ends, or
starts as it did last. Exits with 1 and the reason on stderr if it fails.

A running master is asked to start a second one beside it (USR2); once a worker of that one has
loaded the site, the old one ends gracefully. Both share the listening socket: no request is lost.
See https://docs.gunicorn.org/en/stable/signals.html#upgrading-to-a-new-binary-on-the-fly
"""

from __future__ import annotations

import glob
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

START_SECONDS = 60
SUCCESSOR_SECONDS = 10
GRACEFUL_SECONDS = 45
"""More than the graceful_timeout that serve.py sets, in which gunicorn ends its workers itself."""

QUICK_SECONDS = 10
PROMOTION_SECONDS = 3
POLL_SECONDS = 0.05
TAIL_BYTES = 8 * 1024


class Site:
    """The paths of a site, and the state files of its processes."""

    def __init__(self, facts: dict[str, str]) -> None:
        self.facts = facts
        self.path = facts["deploy_path"]
        self.tools = os.path.join(self.path, ".deploy")
        self.launcher = os.path.join(self.tools, "serve.py")
        self.python = os.path.join(self.path, "current", "venv", "bin", "python")
        self.pid_file = os.path.join(self.tools, "gunicorn.pid")
        self.log = os.path.join(self.tools, "gunicorn.log")
        self.log_start = os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def current_release(self) -> str:
        return os.path.basename(os.path.realpath(os.path.join(self.path, "current")))

    def state_of(self, master: int) -> dict[str, str]:
        """The state that a master's workers record once they have loaded the site; empty before."""
        try:
            with open(os.path.join(self.tools, f"gunicorn-{master}.json")) as file:
                return dict(json.load(file))
        except FileNotFoundError:
            return {}

    def log_tail(self) -> str:
        """The end of the log since we began, in at most TAIL_BYTES."""
        with open(self.log, "rb") as file:
            file.seek(max(self.log_start, os.path.getsize(self.log) - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()


class ServingError(Exception):
    """The reason why gunicorn does not serve the current release."""


# Finding processes


def masters(site: Site) -> list[int]:
    """The site's gunicorn masters, oldest first; two while one replaces the other.

    They are identified by their command line, never by a pid file alone: another program may have
    its number by now.
    """
    parents = {pid: parent_of(pid) for pid in own_processes(site)}
    tops = [pid for pid in parents if parents[pid] not in parents]
    return sorted(tops) + [pid for pid in parents if is_successor(pid, parents[pid])]


def own_processes(site: Site) -> list[int]:
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in numbers if is_own(pid, site)]


def is_own(pid: int, site: Site) -> bool:
    words = read_process(pid, "cmdline").split(b"\0")
    return words[1:3] == [os.fsencode(site.launcher), os.fsencode(site.path)]


def is_successor(pid: int, parent: int) -> bool:
    """Whether a process was started by its parent as its successor, by its environment."""
    word = f"GUNICORN_PID={parent}".encode()
    return word in read_process(pid, "environ").split(b"\0")


def parent_of(pid: int) -> int:
    stat = read_process(pid, "stat").rpartition(b")")[2].split()
    return int(stat[1]) if stat else 0


def read_process(pid: int, name: str) -> bytes:
    """Read a file of /proc; empty if the process is gone or belongs to another account."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


# Starting, replacing and ending them


def start(site: Site) -> int:
    """Start a master in a session of its own; returns once it has loaded the site."""
    forget_the_dead(site)
    # By these gunicorn takes over sockets of a master or of systemd, which are not ours to inherit.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GUNICORN_", "LISTEN_"))}
    with open(os.open(site.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        process = subprocess.Popen(
            [site.python, site.launcher, site.path],
            cwd=site.path,
            env={**inherited, "PWD": site.path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        await_loaded(site, process.pid, lambda: process.poll() is None)
    except BaseException:
        end(site, process.pid, signal.SIGQUIT, QUICK_SECONDS)
        raise
    return process.pid


def replace(site: Site, old: int) -> int:
    """Replace a running master by a new one. If the new one fails, the old one stays."""
    os.kill(old, signal.SIGUSR2)
    try:
        new = await_successor(site, old)
        await_loaded(site, new, lambda: is_own(new, site))
    except BaseException:
        for pid in successors(site, old):
            end(site, pid, signal.SIGQUIT, QUICK_SECONDS)
        raise
    end(site, old, signal.SIGTERM, GRACEFUL_SECONDS)
    # Its loop checks once a second whether the old one is gone, or at once when a signal wakes it.
    send(site, new, signal.SIGCHLD)
    return new


def await_successor(site: Site, old: int) -> int:
    if not wait(lambda: bool(successors(site, old)), SUCCESSOR_SECONDS):
        raise ServingError("The new release did not start; the old one still serves.")
    return successors(site, old)[0]


def successors(site: Site, old: int) -> list[int]:
    return [pid for pid in own_processes(site) if is_successor(pid, old) and parent_of(pid) == old]


def await_loaded(site: Site, master: int, is_alive: Callable[[], bool]) -> None:
    wait(lambda: bool(site.state_of(master)) or not is_alive(), START_SECONDS)
    if not site.state_of(master) or not is_alive():
        raise ServingError("The new release does not start.")
    if site.state_of(master)["release"] != site.current_release():
        raise ServingError("gunicorn loaded another release than the current one.")


def end(site: Site, master: int, by: signal.Signals, seconds: float) -> None:
    """End a master with its workers, by force after this many seconds."""
    # Listed before it ends: workers that outlive their master have another parent.
    workers = [pid for pid in own_processes(site) if parent_of(pid) == master]
    workers = [pid for pid in workers if not is_successor(pid, master)]
    send(site, master, by)
    if wait(lambda: not is_own(master, site), seconds):
        return
    # A killed process can't remove its pid file, and its successor must not find that number.
    if has_its_pid_file(site, master):
        os.unlink(site.pid_file)
    for pid in [master, *workers]:
        send(site, pid, signal.SIGKILL)
    if not wait(lambda: not is_own(master, site), QUICK_SECONDS):
        raise ServingError(f"The old gunicorn master, process {master}, can't be ended.")


def send(site: Site, pid: int, number: signal.Signals) -> None:
    # Its number may be another program's by now.
    if is_own(pid, site):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait(is_done: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition is met; False if it is not met in time."""
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


# Reloading


def reload(site: Site) -> int:
    """Start gunicorn or replace its master; return the one that serves the current release."""
    running = masters(site)
    if not running:
        print("Starting gunicorn.")
        return start(site)
    old = settle(site, running)
    if site.state_of(old).get("bind", site.facts["bind"]) != site.facts["bind"]:
        print("The address has changed: gunicorn has to end before it can listen there.")
        end(site, old, signal.SIGTERM, GRACEFUL_SECONDS)
        return start(site)
    print(f"Replacing the gunicorn master {old}.")
    return replace(site, old)


def stop(site: Site) -> None:
    """End every master of the site; its workers finish their requests."""
    for master in masters(site):
        print(f"Ending the gunicorn master {master}: the site is served in another way.")
        end(site, master, signal.SIGTERM, GRACEFUL_SECONDS)
    forget_the_dead(site)


def settle(site: Site, running: list[int]) -> int:
    """Return the master to keep; ends another one left by an interrupted reload.

    The newest that loaded the site stays: an older one may already be ending.
    """
    loaded = [pid for pid in running if site.state_of(pid)]
    stays = loaded[-1] if loaded else running[0]
    for surplus in running:
        if surplus != stays:
            print(f"Ending the gunicorn master {surplus}, left by an interrupted reload.")
            end(site, surplus, signal.SIGTERM, GRACEFUL_SECONDS)
    wait(lambda: has_its_pid_file(site, stays), PROMOTION_SECONDS)
    return stays


def prepare(site: Site) -> None:
    """Write the launcher's input, and make sure that it can run at all.

    A master that can't execute its successor would end its own workers.
    """
    if not os.path.exists(site.python):
        raise ServingError(f"{site.python} is missing: deploy the site to this server first.")
    ask = [site.python, "-c", "import gunicorn.app.base"]
    if subprocess.run(ask, cwd=site.path, stderr=subprocess.DEVNULL, check=False).returncode:
        raise ServingError(
            "gunicorn is not installed for this release: add it to the requirements."
        )
    write(os.path.join(site.tools, "serve.json"), json.dumps(site.facts))
    if not os.path.exists(os.path.join(site.tools, "bypass")):
        write(os.path.join(site.tools, "bypass"), secrets.token_urlsafe(32))
    beside = f"{site.launcher}.{os.getpid()}"
    os.symlink(site.facts["launcher"], beside)
    os.replace(beside, site.launcher)


def write(path: str, text: str) -> None:
    beside = f"{path}.{os.getpid()}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(beside, path)


def forget_the_dead(site: Site) -> None:
    """Remove files of dead masters: gunicorn refuses a pid file whose number is in use again."""
    for path in [*glob.glob(f"{glob.escape(site.tools)}/gunicorn-*.json"), site.pid_file]:
        with suppress(FileNotFoundError):
            os.unlink(path)


def has_its_pid_file(site: Site, master: int) -> bool:
    """Whether a master has taken over the pid file, up to a second after the old one ended."""
    try:
        with open(site.pid_file) as file:
            return file.read().strip() == str(master)
    except FileNotFoundError:
        return False


def main() -> None:
    # As exceptions, so that `finally` and `except` still clean up when we are stopped.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit("Stopped while gunicorn was reloading."))
    facts = json.load(sys.stdin)
    if facts.get("again"):
        with open(os.path.join(facts["deploy_path"], ".deploy", "serve.json")) as file:
            facts = json.load(file)
    site = Site(facts)
    try:
        if site.facts.get("stop"):
            stop(site)
            return
        prepare(site)
        master = reload(site)
        if not wait(lambda: has_its_pid_file(site, master), PROMOTION_SECONDS):
            raise ServingError(f"The gunicorn master {master} ended after it had begun.")
    except ServingError as failure:
        tail = site.log_tail() if os.path.exists(site.log) else ""
        sys.exit(f"{failure}\n{tail}".strip())
    print(f"gunicorn, process {master}, serves release {site.current_release()}.")


main()
