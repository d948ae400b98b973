"""The site as gunicorn sees it: its configuration, its application, and what is told of both."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from gunicorn import util
from gunicorn.app.base import Application
from gunicorn.errors import AppImportError

from .application import find_application, is_asgi
from .place import Facts, Place, write
from .wanted import Process
from .wrapped import ASGI, WSGI

GRACEFUL_SECONDS = 30
OWN_CONFIGURATION = "gunicorn.conf.py"


class Server(Application):
    """The current release."""

    def __init__(self, process: Process, place: Place, facts: Facts) -> None:
        self.process = process
        self.place = place
        self.facts = facts
        super().__init__(prog="gunicorn")

    def load_config(self) -> None:
        """Set what the site says, then what we rely on; gunicorn's own order: file, variable."""
        line = self.place.variables().get("GUNICORN_CMD_ARGS", "")
        words = vars(self.cfg.parser().parse_args(shlex.split(line)))
        given = {name: value for name, value in words.items() if value is not None}
        self.cfg.set("workers", self.process.number)
        self._read_file(given.pop("config", None))
        self._set(given)
        self._set(self._fixed())

    def _read_file(self, named: str | None) -> None:
        """Read its configuration file: the one named, or gunicorn.conf.py if there is one."""
        file = named or OWN_CONFIGURATION
        os.chdir(self.place.code)  # where gunicorn would be started by hand
        if named or os.path.exists(file):
            # With a colon, as in python:config.gunicorn, it is a module.
            path = file if ":" in file else os.path.abspath(file)
            self.load_config_from_module_name_or_filename(path)
        os.chdir(self.place.path)

    def _fixed(self) -> dict[str, object]:
        place, process = self.place, self.process
        hooks: dict[str, Callable[[object], None]] = {
            "on_starting": lambda arbiter: forget(place, arbiter.pid),
            "post_worker_init": lambda worker: remember(place, worker.ppid, process.bind),
            "on_exit": lambda arbiter: forget(place, arbiter.pid),
        }
        chained = {name: _both(getattr(self.cfg, name), hooks[name]) for name in hooks}
        is_as_usual = self.cfg.graceful_timeout == self.cfg.settings["graceful_timeout"].default
        return {
            "bind": process.bind,
            "daemon": False,
            "pidfile": os.path.join(place.tools, "gunicorn.pid"),
            "control_socket_disable": True,
            **({"graceful_timeout": GRACEFUL_SECONDS} if is_as_usual else {}),
            **chained,
        }

    def _set(self, values: dict[str, object]) -> None:
        for name, value in values.items():
            if name in self.cfg.settings:  # older versions of gunicorn lack some of them
                self.cfg.set(name, value)

    def load(self) -> WSGI | ASGI:
        """Import the site. Runs in each worker, so that the master keeps none of its code."""
        # By default, the folder that gunicorn was started in.
        is_chosen = os.path.realpath(self.cfg.chdir) != os.path.realpath(self.place.path)
        folder = os.path.join(self.place.code, self.cfg.chdir) if is_chosen else self.place.code
        os.chdir(folder)
        added = [each for each in (self.cfg.pythonpath or "").split(",") if each]
        sys.path[:0] = [folder, *map(os.path.abspath, added)]
        name = find_application(self.facts["wsgi"], "WSGI_APPLICATION", "wsgi")
        if not name:
            raise AppImportError("No settings module is known: set DJANGO_SETTINGS_MODULE.")
        application = util.import_app(name)
        if not is_asgi(application):
            return WSGI(application, self.place)
        if "uvicorn" not in self.cfg.worker_class_str:
            raise AppImportError(
                f"{name} is an ASGI application, which gunicorn alone can't serve: add a process"
                " of the kind asgi to the environment, or a worker class of uvicorn to"
                " gunicorn.conf.py."
            )
        return ASGI(application, self.place)


def _both(theirs: Callable[..., object], ours: Callable[..., object]) -> Callable[..., None]:
    """Return a hook of gunicorn that calls the one of its configuration file, and ours."""

    # gunicorn wants a function with exactly one argument.
    def call(of: object) -> None:
        theirs(of)
        ours(of)

    return call


def remember(place: Place, master: int, bind: str) -> None:
    """Record that a master's workers have loaded the site, and which release."""
    write(state_path(place, master), json.dumps({"release": place.release, "bind": bind}))
    notify(f"READY=1\nMAINPID={master}")


def notify(state: str) -> None:
    """Tell systemd which process is the unit's main one: without it, its end would be the unit's.

    See sd_notify(3). Nothing is told where systemd does not supervise.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as telling:
            telling.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            telling.sendall(state.encode())


def forget(place: Place, master: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(state_path(place, master))


def state_path(place: Place, master: int) -> str:
    return os.path.join(place.tools, f"gunicorn-{master}.json")
