"""uvicorn for a process of the kind asgi: `processes.pyz serve-asgi <deploy path> <workers>`.

It serves on the socket that systemd opened, or opens one itself where systemd does not supervise.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from .application import find_application
from .place import Place
from .wanted import wanted_here

FIRST_SOCKET = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

BACKLOG = 2048


def serve_asgi(path: str, workers: int) -> None:
    """Run uvicorn. Ends with the reason if the release has none."""
    place = Place(path, Place(path).stored_facts()["folder"])
    # For its workers, too, which import the application by their own.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [place.code, place.program, *filter(None, [os.environ.get("PYTHONPATH", "")])]
    )
    sys.path.insert(0, place.code)
    try:
        import uvicorn
        from uvicorn.supervisors import Multiprocess
    except ImportError:
        sys.exit("uvicorn is not installed for this release: add it to the requirements.")
    name = f"{__package__}.serve_asgi:application"
    config = uvicorn.Config(name, workers=workers, log_level="info")
    sockets = [_socket(place)]
    server = uvicorn.Server(config)
    if workers > 1:
        Multiprocess(config, target=server.run, sockets=sockets).run()
    else:
        server.run(sockets=sockets)
    if not server.started and workers == 1:
        sys.exit(3)  # as uvicorn does if the application can't be loaded


def _socket(place: Place) -> socket.socket:
    """Return the socket to serve on: by LISTEN_PID, systemd handed one over to this process."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=FIRST_SOCKET)
    bind = _process(place).bind
    if bind.startswith("unix:"):
        path = bind[len("unix:") :]
        if os.path.exists(path):
            os.unlink(path)
        opened = socket.socket(socket.AF_UNIX)
        opened.bind(path)
        os.chmod(path, 0o666)  # noqa: S103  the web server, of another account, connects to it
    else:
        host, _colon, port = bind.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.socket(family)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host.strip("[]"), int(port)))
    opened.listen(BACKLOG)
    opened.set_inheritable(True)
    return opened


def _process(place: Place) -> Any:
    name = os.environ["DEPLOY_PROCESS"].partition("@")[0]
    return next(each for each in wanted_here(place.stored_facts(), place) if each.name == name)


def __getattr__(name: str) -> Any:
    """Load the site's application when uvicorn asks for it, in each of its workers."""
    if name != "application":
        raise AttributeError(name)
    from importlib import import_module

    from .wrapped import ASGI

    path = os.environ["DEPLOY_PATH"]
    place = Place(path, Place(path).stored_facts()["folder"])
    given = _process(place).application
    module, _colon, attribute = find_application(given, "ASGI_APPLICATION", "asgi").partition(":")
    # The release that this process was started for, whatever is current by now.
    place.release = os.environ["DEPLOY_RELEASE"]
    return ASGI(getattr(import_module(module), attribute), place)
