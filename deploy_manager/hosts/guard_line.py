"""The line to the guard on a server: started where there is none, greeted, and kept alive."""

import hashlib
import io
import json
import shlex
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from threading import Event, Lock, Thread
from typing import Any, Protocol

from deploy_manager.exceptions import (
    ClaimLost,
    ConnectionLost,
    RecipeError,
    ServerBusy,
)
from deploy_manager.hosts.pipes import Pipe
from deploy_manager.hosts.remote.guard.frames import READY, VERSION, Frame, Kind, Unpacker, pack
from deploy_manager.recipes.host import Command, Result

GREETS_WITHIN = 30.0
PING_EVERY = 3.0
MISSING = 97
"""Exit code of a server that has no such guard yet."""

MAIN = "import sys\nfrom guard.relay import main\nsys.exit(main())\n"


@dataclass(frozen=True)
class Work:
    """Whose work is done on a server, and where: told to whoever finds it busy."""

    folder: str
    """<deploy path>/.deploy"""

    python: str
    """The server's interpreter, as Site.python."""

    key: str
    """Names the site: fencing tokens are compared for each site by itself."""

    deployment: int
    token: int
    who: str
    what: str


@dataclass(frozen=True)
class CommandRecord:
    """What the journal on a server knows of a command."""

    step: int
    index: int
    state: str
    """running, ended or unknown."""

    exit_code: int | None


class BareHost(Protocol):
    """A host without a guard, by which one is started."""

    name: str

    def run(self, command: Command, *, check: bool = True, quiet: bool = False) -> Result: ...

    def put(self, content: bytes, target: str, mode: int = 0o644) -> None: ...

    def open_pipe(self, words: Sequence[str]) -> Pipe:
        """Start a program to speak with. Raises HostUnreachable, ConnectionLost."""

    def close(self) -> None: ...


class GuardLine:
    """An open line to a guard that welcomed us."""

    def __init__(self, host: BareHost, pipe: Pipe, unpacker: Unpacker, early: list[Frame]) -> None:
        self._host = host
        self._pipe = pipe
        self._unpacker = unpacker
        self._early = early
        self._lock = Lock()
        self._closed = Event()
        Thread(target=self._keep_alive, name=f"line to {host.name}", daemon=True).start()

    def send(self, kind: Kind, payload: Any = b"") -> None:
        """Send a frame. Raises ConnectionLost."""
        with self._lock:
            self._pipe.send(pack(kind, payload))

    def receive(self, seconds: float) -> list[Frame]:
        """Return the frames that came, waiting this long for the first. Raises ConnectionLost."""
        if self._early:
            early, self._early = self._early, []
            return early
        data = self._pipe.receive(seconds)
        try:
            return self._unpacker.feed(data)
        except ValueError as error:
            raise ConnectionLost(f"{self._host.name} sent what is no frame: {error}.") from error

    def give_back(self, frames: Iterable[Frame]) -> None:
        """Let frames that somebody else wants be received again."""
        self._early = [*frames, *self._early]

    def close(self) -> None:
        """Hang up; the guard goes on with what runs, and ends soon where nothing does."""
        self._closed.set()
        self._pipe.close()
        self._host.close()

    def _keep_alive(self) -> None:
        """Let the guard know that we are there; who can't is taken for gone after some seconds."""
        while not self._closed.wait(PING_EVERY):
            try:
                self.send(Kind.PING)
            except ConnectionLost:
                return


def open_line(host: BareHost, work: Work) -> GuardLine:
    """Greet the guard of a deploy path, and start it where there is none.

    Raises HostUnreachable, ServerBusy, ClaimLost, and RecipeError with the server's own words.
    """
    pipe, unpacker, frames = _greet(host, work, is_probe=False)
    (kind, payload), *early = frames
    if kind is Kind.WELCOME:
        return GuardLine(host, pipe, unpacker, early)
    pipe.close()
    raise _refusal(host, kind, json.loads(payload))


def read_records(host: BareHost, work: Work) -> list[CommandRecord]:
    """Return what the journal of a deployment knows; raises as `open_line` does."""
    pipe, _unpacker, frames = _greet(host, work, is_probe=True)
    pipe.close()
    kind, payload = frames[0]
    if kind is not Kind.RECORDS:
        raise _refusal(host, kind, json.loads(payload))
    return [CommandRecord(**record) for record in json.loads(payload)]


def _greet(host: BareHost, work: Work, is_probe: bool) -> tuple[Pipe, Unpacker, list[Frame]]:
    pipe = _start_relay(host, work)
    try:
        pipe.send(pack(Kind.HELLO, _hello(work, is_probe)))
        unpacker = Unpacker()
        frames: list[Frame] = []
        for data in _received(pipe, host):
            frames = unpacker.feed(data)
            if frames:
                return pipe, unpacker, frames
    except BaseException:
        pipe.close()
        raise
    raise ConnectionLost(f"The guard on {host.name} did not answer.")


def _hello(work: Work, is_probe: bool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "key": work.key,
        "deployment": work.deployment,
        "token": work.token,
        "who": work.who,
        "what": work.what,
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "probe": is_probe,
    }


def _start_relay(host: BareHost, work: Work) -> Pipe:
    """Start the relay; send the guard there first where it is missing."""
    archive, name = guard_archive()
    path = f"{work.folder}/{name}"
    pipe = _try_relay(host, work, path)
    if pipe is None:
        host.run(["mkdir", "-p", work.folder], quiet=False)
        host.put(archive, path)
        pipe = _try_relay(host, work, path)
    if pipe is None:
        raise RecipeError(f"{host.name}: {path} was sent, but is not there.")
    return pipe


def _try_relay(host: BareHost, work: Work, path: str) -> Pipe | None:
    """Return a relay that is ready; None where the server does not have it. Raises RecipeError."""
    guard, python = shlex.quote(path), shlex.quote(work.python)
    line = (
        f"test -f {guard} || {{ echo {MISSING} >&2; exit {MISSING}; }};"
        f" exec {python} -I -S {guard} attach {shlex.quote(work.folder)}"
    )
    pipe = host.open_pipe(["/bin/sh", "-c", line])
    seen = b""
    try:
        for data in _received(pipe, host):
            seen += data
            if READY in seen:
                return pipe
    except ConnectionLost:
        said = pipe.complaint()
        pipe.close()
        if said.endswith(str(MISSING)):
            return None
        if not said:
            raise
        raise RecipeError(f"{host.name} can't start the guard: {said}") from None
    pipe.close()
    raise ConnectionLost(f"The guard on {host.name} did not start within {GREETS_WITHIN:g} s.")


def _received(pipe: Pipe, host: BareHost) -> Iterator[bytes]:
    waited = 0.0
    while waited < GREETS_WITHIN:
        if data := pipe.receive(0.5):
            yield data
        else:
            waited += 0.5


def _refusal(host: BareHost, kind: Kind, said: dict[str, Any]) -> Exception:
    if said.get("why") == "stale":
        return ClaimLost()
    if said.get("why") == "busy":
        what = said.get("what", "something else")
        who, since = said.get("who", "somebody"), said.get("since", "a while ago")
        return ServerBusy(f"{host.name} is busy there: {what} by {who}, since {since}.")
    return RecipeError(f"{host.name}: {said.get('reason', kind.name)}.")


@cache
def guard_archive() -> tuple[bytes, str]:
    """Return the guard as one file that Python runs, and its name, which tells its content."""
    folder = files("deploy_manager.hosts").joinpath("remote", "guard")
    sources = sorted((each for each in folder.iterdir() if each.name.endswith(".py")), key=str)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in [
            ("__main__.py", MAIN.encode()),
            *((f"guard/{source.name}", source.read_bytes()) for source in sources),
        ]:
            archive.writestr(zipfile.ZipInfo(name), text)
    content = buffer.getvalue()
    return content, f"guard-{hashlib.sha256(content).hexdigest()[:12]}.pyz"
