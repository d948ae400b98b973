"""uvicorn for a process of the kind asgi: `processes.pyz serve-asgi <deploy path> <workers>`.

It serves on the socket that systemd opened, or opens one itself where systemd does not supervise.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any

from .application import find_application, load_application
from .launch import FIRST_SOCKET
from .place import Facts, Place, find_deployed, socket_file
from .wanted import Process, wanted_here

ACCEPTED_SECONDS = 0.3


def serve_asgi(path: str, workers: int) -> None:
    """Run uvicorn. Ends with the reason if the release has none."""
    place, facts = find_deployed(path)
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
    uvicorn.run(name, workers=workers, **_address(_process(place, facts)))


def _address(process: Process) -> dict[str, Any]:
    """Return where to serve: by LISTEN_PID, systemd handed a socket over to this process."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return {"fd": FIRST_SOCKET}
    if path := socket_file(process.bind):
        # Left by a power cut: whoever had it was ended before this was started.
        with suppress(FileNotFoundError):
            os.unlink(path)
        return {"uds": path}
    host, _colon, port = process.bind.rpartition(":")
    return {"host": host.strip("[]"), "port": int(port)}


def _process(place: Place, facts: Facts) -> Process:
    name = os.environ["DEPLOY_PROCESS"].partition("@")[0]
    return next(each for each in wanted_here(facts, place) if each.name == name)


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
    _wait_for_what_was_accepted()
    from .wrapped import ASGI

    place, facts = find_deployed(os.environ["DEPLOY_PATH"])
    given = _process(place, facts).application
    # The release that this process was started for, whatever is current by now.
    place.release = os.environ["DEPLOY_RELEASE"]
    name = find_application(given, "ASGI_APPLICATION", "asgi")
    return ASGI(load_application(name), place)
