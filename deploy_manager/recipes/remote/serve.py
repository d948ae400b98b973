"""Run gunicorn for the release that `current` points at: `python serve.py <deploy path>`.

Started by gunicorn_control.py. On a reload gunicorn executes this file again, which then finds the
new release: its code, its virtual environment, its variables. Python 3.8 or newer.

Everything is taken from the release that `current` points at when the process starts, so that an
old process never imports new code, whatever happens to `current` later.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import shlex
import sys
from contextlib import suppress

RETRY_SECONDS = 60
GRACEFUL_SECONDS = 30
OWN_PAGE = b"<!doctype html><title>Maintenance</title><p>Down for maintenance, back soon."

DEPLOY_PATH = sys.argv[1]
TOOLS = os.path.join(DEPLOY_PATH, ".deploy")
CURRENT = os.path.join(DEPLOY_PATH, "current")
RELEASE = os.path.realpath(CURRENT)


def pinned(paths: list[str]) -> list[str]:
    """Return an import path without links through `current`, and without our own folder."""
    through = CURRENT + os.sep
    return [os.path.realpath(p) if p.startswith(through) else p for p in paths[1:]]


# Before gunicorn is imported, since it imports more of itself later. It must not rename its
# processes with setproctitle: they are recognised by their command line.
sys.path[:] = pinned(sys.path)
sys.modules["setproctitle"] = None  # type: ignore[assignment]
from gunicorn import util  # noqa: E402
from gunicorn.app.base import BaseApplication  # noqa: E402
from gunicorn.errors import AppImportError  # noqa: E402

# The site itself may import it.
del sys.modules["setproctitle"]


class Server(BaseApplication):
    """The current release as gunicorn sees it."""

    def __init__(self, site: dict[str, str], variables: dict[str, str]) -> None:
        self.site = site
        self.variables = variables
        super().__init__()

    def load_config(self) -> None:
        options = {
            # First: by what follows our own processes are found and replaced.
            **self._options_of_the_site(),
            "bind": self.site["bind"],
            "workers": self.site["workers"],
            "pidfile": os.path.join(TOOLS, "gunicorn.pid"),
            "graceful_timeout": GRACEFUL_SECONDS,
            "control_socket_disable": True,
            "on_starting": lambda arbiter: forget(arbiter.pid),
            "post_worker_init": lambda worker: remember(worker.ppid, self.site["bind"]),
            "on_exit": lambda arbiter: forget(arbiter.pid),
        }
        # Older versions of gunicorn lack some of them.
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Maintenance:
        """Import the site. Runs in each worker, so that the master keeps none of its code."""
        os.environ.update(self.variables)
        code = os.path.normpath(os.path.join(RELEASE, self.site["folder"]))
        os.chdir(code)
        sys.path.insert(0, code)
        return Maintenance(util.import_app(find_application(self.site, code)))

    def _options_of_the_site(self) -> dict[str, object]:
        """Return the options in the variable GUNICORN_CMD_ARGS, like `--threads 4 --timeout 60`."""
        words = shlex.split(self.variables.get("GUNICORN_CMD_ARGS", ""))
        found = vars(self.cfg.parser().parse_args(words))
        return {name: value for name, value in found.items() if value is not None}


class Maintenance:
    """Answers 503 with a page while the file `maintenance/on` exists.

    Requests with the secret get through, and learn which release answers.
    """

    def __init__(self, application) -> None:  # type: ignore[no-untyped-def]
        self.application = application
        self.folder = os.path.join(DEPLOY_PATH, "maintenance")
        self.secret = read(os.path.join(TOOLS, "bypass")).strip()
        self.release = ("X-Deploy-Release", os.path.basename(RELEASE))

    def __call__(self, environ, start_response):  # type: ignore[no-untyped-def]
        if self.is_trusted(environ.get("HTTP_X_MAINTENANCE_BYPASS", "")):
            return self.application(environ, self.naming_the_release(start_response))
        if os.path.exists(os.path.join(self.folder, "on")):
            return self.page(environ, start_response)
        return self.application(environ, start_response)

    def is_trusted(self, shown: str) -> bool:
        return bool(self.secret) and hmac.compare_digest(
            shown.encode("utf-8", "replace"), self.secret
        )

    def naming_the_release(self, start_response):  # type: ignore[no-untyped-def]
        def start(status, headers, *error):  # type: ignore[no-untyped-def]
            return start_response(status, [*headers, self.release], *error)

        return start

    def page(self, environ, start_response):  # type: ignore[no-untyped-def]
        page = read(os.path.join(self.folder, "index.html")) or OWN_PAGE
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(page))),
            ("Retry-After", str(RETRY_SECONDS)),
            ("Cache-Control", "no-store"),
        ]
        start_response("503 Service Unavailable", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [page]


def find_application(site: dict[str, str], code: str) -> str:
    """Return `module:name` of the WSGI application: the configured one, or WSGI_APPLICATION."""
    if site["wsgi"]:
        return site["wsgi"]
    module = os.environ.get("DJANGO_SETTINGS_MODULE") or site["settings"] or from_manage_py(code)
    if not module:
        raise AppImportError("No settings module is known: set DJANGO_SETTINGS_MODULE.")
    os.environ["DJANGO_SETTINGS_MODULE"] = module
    from django.conf import settings

    package, _dot, name = (settings.WSGI_APPLICATION or "").rpartition(".")
    return f"{package}:{name}" if package else f"{module.split('.')[0]}.wsgi:application"


def from_manage_py(code: str) -> str:
    """Return the settings module that manage.py falls back to; blank if it names none."""
    text = read(os.path.join(code, "manage.py")).decode("utf-8", "replace")
    found = re.search(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([A-Za-z_][\w.]*)["']""", text)
    return found.group(1) if found else ""


def variables_path() -> str:
    """Return the path of the release's variables; early releases have them in the code."""
    outside = os.path.join(TOOLS, "environment", os.path.basename(RELEASE))
    return outside if os.path.exists(outside) else os.path.join(RELEASE, ".deploy.env")


def read_variables(path: str) -> dict[str, str]:
    """Read a file of quoted `export NAME=value` lines."""
    words = shlex.split(read(path).decode("utf-8", "surrogateescape"), comments=True)
    pairs = (word.partition("=") for word in words if word != "export")
    return {name: value for name, _equals, value in pairs}


def remember(master: int, bind: str) -> None:
    """Record that a master's workers have loaded the site, and which release."""
    path = state_path(master)
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w") as file:
        json.dump({"release": os.path.basename(RELEASE), "bind": bind}, file)
    os.replace(beside, path)


def forget(master: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(state_path(master))


def state_path(master: int) -> str:
    return os.path.join(TOOLS, f"gunicorn-{master}.json")


def read(path: str) -> bytes:
    """Return a file's content; empty if it does not exist."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def main() -> None:
    # A master inherits its predecessor's umask, which the site may have changed.
    os.umask(0o022)
    with open(os.path.join(TOOLS, "serve.json")) as file:
        site = json.load(file)
    Server(site, read_variables(variables_path())).run()


if __name__ == "__main__":
    main()
