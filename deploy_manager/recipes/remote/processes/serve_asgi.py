"""uvicorn for a process of the kind asgi: `processes.pyz serve-asgi <deploy path> <workers>`.

It serves on the socket that systemd opened, or opens one itself where systemd does not supervise.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any

from .application import find_application
from .place import Place
from .wanted import wanted_here

ACCEPTED_SECONDS = 0.3
FIRST_SOCKET = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""


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
    except ImportError:
        sys.exit("uvicorn is not installed for this release: add it to the requirements.")
    name = f"{__package__}.serve_asgi:application"
    uvicorn.run(name, workers=workers, **_address(place))


def _address(place: Place) -> dict[str, Any]:
    """Return where to serve: by LISTEN_PID, systemd handed a socket over to this process."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return {"fd": FIRST_SOCKET}
    bind = _process(place).bind
    if bind.startswith("unix:"):
        # Left by a power cut: whoever had it was ended before this was started.
        with suppress(FileNotFoundError):
            os.unlink(bind[len("unix:") :])
        return {"uds": bind[len("unix:") :]}
    host, _colon, port = bind.rpartition(":")
    return {"host": host.strip("[]"), "port": int(port)}


def _process(place: Place) -> Any:
    name = os.environ["DEPLOY_PROCESS"].partition("@")[0]
    return next(each for each in wanted_here(place.stored_facts(), place) if each.name == name)


def _wait_for_what_was_accepted() -> None:
    """Let a server that is to end read the requests of connections that it has accepted already.

    uvicorn closes those from which it has read nothing yet: their requests would be lost, while
    those that it has not accepted wait in the socket for the next release.
    """
    from uvicorn.server import Server

    shut_down = Server.shutdown

    async def shut_down_later(self: Server, sockets: Any = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(ACCEPTED_SECONDS)
        await shut_down(self, sockets)

    Server.shutdown = shut_down_later  # type: ignore[method-assign]


def __getattr__(name: str) -> Any:
    """Load the site's application when uvicorn asks for it, in each of its workers."""
    if name != "application":
        raise AttributeError(name)
    from importlib import import_module

    _wait_for_what_was_accepted()
    from .wrapped import ASGI

    path = os.environ["DEPLOY_PATH"]
    place = Place(path, Place(path).stored_facts()["folder"])
    given = _process(place).application
    module, _colon, attribute = find_application(given, "ASGI_APPLICATION", "asgi").partition(":")
    # The release that this process was started for, whatever is current by now.
    place.release = os.environ["DEPLOY_RELEASE"]
    return ASGI(getattr(import_module(module), attribute), place)
