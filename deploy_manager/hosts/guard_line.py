"""The line to the guard on a server: starts a missing guard, greets it, keeps the line alive."""

import ast
import base64
import hashlib
import json
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from threading import Event, Lock, Thread
from typing import Any, Protocol

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import (
    ClaimLost,
    CommandTimedOut,
    ConnectionLost,
    RecipeError,
    ServerBusy,
)
from deploy_manager.hosts.channel import no_commands
from deploy_manager.hosts.pipes import Pipe
from deploy_manager.hosts.remote.guard.frames import (
    NAMES,
    READY,
    VERSION,
    Frame,
    Kind,
    Unpacker,
    pack,
)
from deploy_manager.hosts.remote.launch import MISSING, MODULE
from deploy_manager.messages import Message
from deploy_manager.recipes.host import (
    OLDEST_PYTHON,
    PRINT_VERSION,
    Command,
    Result,
    python_problem,
)

GREETS_WITHIN = 30.0
"""Seconds; a server under load takes long to start a Python."""

PING_EVERY = 3.0
"""Seconds; several in the time after which the guard drops a silent client (LEASE, 15 seconds)."""

ANSWERS_WITHIN = 3.0
"""Seconds of silence after which to check whether the server runs our commands at all."""

SEEN_BYTES = 64 * 1024
BEGUN = b"deploy-manager-begins"
"""Printed by sh first: anything before it comes from the account's shell profile."""

MODULES = (
    *("__init__", "lean", "files", "frames", "groups", "encoding", "modes", "spool", "putting"),
    *("client", "journal", "starting", "command", "orders", "daemon", "relay"),
)
"""The guard's modules, each after those that it imports."""


@dataclass(frozen=True)
class Work:
    """The deployment that holds a deploy path, as shown to others who find the server busy."""

    folder: str
    """<deploy path>/.deploy"""

    python: str
    """The server's interpreter, as Site.python."""

    key: str
    """Names the site: fencing tokens are compared within one site."""

    deployment: int
    begin_number: int
    """Counts the deployments of the site as they began: of two, the server obeys the later."""

    token: int
    """Counts the workers that took this deployment up."""

    who: str
    what: str
    oldest_python: tuple[int, int] = OLDEST_PYTHON
    """The oldest Python that the server may have."""


@dataclass(frozen=True)
class CommandRecord:
    """A command in the journal on a server."""

    step: int
    index: int
    state: str
    """running, ended or unknown."""

    exit_code: int | None


class BareHost(Protocol):
    """A host without a guard, used to start one."""

    name: str

    def run(
        self,
        command: Command,
        *,
        timeout: float | None = None,
        check: bool = True,
        quiet: bool = False,
    ) -> Result: ...

    def put(self, content: bytes, target: str, mode: int = 0o644) -> None: ...

    def open_pipe(self, line: str) -> Pipe:
        """Start a line of sh and return a pipe to it. Raises HostUnreachable, ConnectionLost."""

    def close(self) -> None: ...


class GuardLine:
    """An open line to a guard that accepted us."""

    def __init__(self, host: BareHost, pipe: Pipe, unpacker: Unpacker, early: list[Frame]) -> None:
        self._host = host
        self._pipe = pipe
        self._unpacker = unpacker
        self._early = early
        # The thread that pings sends too, and frames must not mix.
        self._lock = Lock()
        self._closed = Event()
        Thread(target=self._keep_alive, name=f"line to {host.name}", daemon=True).start()

    def send(self, kind: int, payload: Any = b"") -> None:
        """Send a frame. Raises ConnectionLost."""
        with self._lock:
            self._pipe.send(pack(kind, payload))

    def receive(self, seconds: float) -> list[Frame]:
        """Return frames, waiting this long for the first. Raises ConnectionLost."""
        if self._early:
            early, self._early = self._early, []
            return early
        return _frames_in(self._pipe.receive(seconds), self._unpacker, self._host.name)

    def give_back(self, frames: Iterable[Frame]) -> None:
        """Put frames back, to be received again by those who wait for them."""
        self._early = [*frames, *self._early]

    def close(self) -> None:
        """Hang up; the guard lets a running command go on, and exits soon if there is none."""
        self._closed.set()
        self._pipe.close()
        self._host.close()

    def _keep_alive(self) -> None:
        """Ping the guard, which drops a client that stays silent for some seconds (LEASE)."""
        while not self._closed.wait(PING_EVERY):
            try:
                self.send(Kind.PING)
            except ConnectionLost:
                return  # the pipe is closed now: whoever receives learns of it


def open_line(host: BareHost, work: Work) -> GuardLine:
    """Greet the guard of a deploy path, and start one if there is none.

    Raises HostUnreachable, ServerBusy, ClaimLost, and RecipeError with the server's own message; if
    its Python is too old, nothing is sent.
    """
    pipe, unpacker, frames = _greet(host, work, is_probe=False)
    (kind, payload), *early = frames
    if kind == Kind.WELCOME:
        return GuardLine(host, pipe, unpacker, early)
    pipe.close()
    raise _refusal(host, kind, json.loads(payload))


def read_records(host: BareHost, work: Work) -> list[CommandRecord]:
    """Return the commands in the journal of a deployment; raises as `open_line` does."""
    pipe, _unpacker, frames = _greet(host, work, is_probe=True)
    pipe.close()
    kind, payload = frames[0]
    if kind != Kind.RECORDS:
        raise _refusal(host, kind, json.loads(payload))
    return [CommandRecord(**record) for record in json.loads(payload)]


def _greet(host: BareHost, work: Work, is_probe: bool) -> tuple[Pipe, Unpacker, list[Frame]]:
    pipe = _start_relay(host, work)
    try:
        pipe.send(pack(Kind.HELLO, _hello(work, is_probe)))
        unpacker = Unpacker()
        for _waited, data in _received(pipe):
            if frames := _frames_in(data, unpacker, host.name):
                return pipe, unpacker, frames
        raise ConnectionLost(
            _("The guard on %(name)s did not answer: check the server."), name=host.name
        )
    except BaseException:
        pipe.close()
        raise


def _frames_in(data: bytes, unpacker: Unpacker, name: str) -> list[Frame]:
    try:
        return unpacker.feed(data)
    except ValueError as error:
        raise ConnectionLost(
            _("%(name)s sent something other than a frame: %(error)s."), name=name, error=error
        ) from error


def _hello(work: Work, is_probe: bool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "key": work.key,
        "deployment": work.deployment,
        "begin_number": work.begin_number,
        "token": work.token,
        "who": work.who,
        "what": work.what,
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "probe": is_probe,
        "oldest_python": work.oldest_python,
    }


def _start_relay(host: BareHost, work: Work) -> Pipe:
    """Start the relay; send the guard there first if it is missing."""
    archive, name = guard_archive()
    path = f"{work.folder}/{name}"
    pipe = _try_relay(host, work, path)
    if pipe is None:
        host.run(["mkdir", "-p", "-m", "700", "--", work.folder])
        # Its name has a hash: a guard of another version may still run from its own file.
        host.put(archive, path, 0o600)
        pipe = _try_relay(host, work, path)
    if pipe is None:
        raise RecipeError(
            _("%(name)s: %(path)s was sent, but its content there is different."),
            name=host.name,
            path=path,
        )
    return pipe


def _try_relay(host: BareHost, work: Work, path: str) -> Pipe | None:
    """Return a relay that is ready; None if the server does not have it.

    Raises RecipeError and NoCommands with the server's own message.
    """
    pipe = host.open_pipe(_relay_line(work, path))
    is_ready = False
    try:
        is_ready = _becomes_ready(host, work, pipe)
    finally:
        if not is_ready:
            pipe.close()
    return pipe if is_ready else None


def _becomes_ready(host: BareHost, work: Work, pipe: Pipe) -> bool:
    """Wait until a relay is ready; False if the server does not have it. Raises as _try_relay."""
    seen, is_doubted = b"", False
    try:
        for waited, data in _received(pipe):
            # Of what comes before READY no more is kept, and nothing comes after it until we greet.
            seen = (seen + data)[-SEEN_BYTES:]
            if READY in seen:
                return True
            if waited > ANSWERS_WITHIN and BEGUN not in seen and not is_doubted:
                is_doubted = True
                _require_commands(host)
    except ConnectionLost:
        complaint = pipe.complaint()
        pipe.close()
        # sh had begun, and nobody says that the guard is missing: what happened is unknown.
        if complaint is None or (BEGUN in seen and not complaint):
            raise
        _require_readiness(host, work, seen, complaint)
        return False
    if BEGUN not in seen:
        raise no_commands(host.name, seen)
    raise ConnectionLost(
        _("The guard on %(name)s did not start within %(seconds)s s: check the load there."),
        name=host.name,
        seconds=f"{GREETS_WITHIN:g}",
    )


def _relay_line(work: Work, path: str) -> str:
    """Return a line of sh that prints BEGUN, then becomes the relay or reports it as missing.

    The launcher is in the line itself, since no file on the server can be trusted yet: it compares
    the guard there with ours, and refuses a folder that others own or may write in.
    """
    launch = f"import binascii; exec(binascii.a2b_base64('{_launcher()}'))"
    sha256 = hashlib.sha256(guard_archive()[0]).hexdigest()
    # The version comes first, by code that any Python runs: nothing is sent to one too old.
    guard, python = shlex.quote(path), shlex.quote(work.python)
    # -I and -S: no PYTHON* variable, .pth file or sitecustomize acts before the check.
    words = ["-I", "-S", "-X", "utf8", "-c", launch, path, sha256, work.folder]
    return (
        f"echo {BEGUN.decode()}; test -f {guard} ||"
        f" {{ {python} -c {shlex.quote(PRINT_VERSION)} >&2 || exit; echo {MISSING} >&2; exit 1; }};"
        f" exec {python} {shlex.join(words)}"
    )


def _require_readiness(host: BareHost, work: Work, seen: bytes, complaint: str) -> None:
    """Return if the relay is merely missing and may be sent; raise otherwise."""
    if BEGUN not in seen:
        raise no_commands(host.name, seen + b"\n" + complaint.encode())
    *before, last = complaint.splitlines() or [""]
    if last != MISSING:
        # A Python too old to parse the launcher fails with a SyntaxError: ask for its version.
        asked = host.run([work.python, "-c", PRINT_VERSION], check=False, quiet=True)
        problem = asked.ok and python_problem(host.name, asked.stdout.strip(), work.oldest_python)
        if problem:
            raise RecipeError(problem)
        raise RecipeError(
            _("%(name)s can't start the guard: %(complaint)s"), name=host.name, complaint=complaint
        )
    if problem := python_problem(host.name, before[-1] if before else "", work.oldest_python):
        raise RecipeError(problem)


def _require_commands(host: BareHost) -> None:
    """Raise NoCommands if the server runs something else instead of our commands.

    A forced command that waits for input looks like a slow server. `true` has no input: the forced
    command ends, and shows itself.
    """
    with suppress(ConnectionLost, CommandTimedOut):
        answer = host.run("true", check=False, quiet=True, timeout=ANSWERS_WITHIN)
        if not answer.ok:
            raise no_commands(host.name, f"{answer.stdout}\n{answer.stderr}".encode())


def _received(pipe: Pipe) -> Iterator[tuple[float, bytes]]:
    """Yield elapsed seconds and received bytes, for as long as a guard may take to greet."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < GREETS_WITHIN:
        yield waited, pipe.receive(0.5)


def _refusal(host: BareHost, kind: int, answer: dict[str, Any]) -> Exception:
    if answer.get("why") == "old":
        return RecipeError(python_problem(host.name, answer["python"], answer["oldest"]))
    if answer.get("why") == "stale":
        return ClaimLost()
    if answer.get("why") == "busy":
        what = answer.get("what") or Message(_("something else"))
        who, since = (
            answer.get(key) or Message(text)
            for key, text in (("who", _("someone")), ("since", _("a while ago")))
        )
        return ServerBusy(
            _(
                "%(name)s is busy there: %(what)s by %(who)s, since %(since)s. Try again "
                "when it has ended."
            ),
            name=host.name,
            what=what,
            who=who,
            since=since,
        )
    return RecipeError(
        "%(name)s: %(answer)s.", name=host.name, answer=answer.get("reason", NAMES[kind])
    )


@cache
def _launcher() -> str:
    """Return the launcher without its comments, in base64, which no shell changes."""
    tree = ast.parse(files("deploy_manager.hosts").joinpath("remote", "launch.py").read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    return base64.b64encode(ast.unparse(tree).encode()).decode()


@cache
def guard_archive() -> tuple[bytes, str]:
    """Return the guard as one file of all its modules, and its name with a hash of it."""
    folder = files("deploy_manager.hosts").joinpath("remote", "guard")
    content = "".join(
        f"{MODULE}{name}\n{folder.joinpath(f'{file}.py').read_text('utf-8')}"
        for file in MODULES
        for name in ["guard" if file == "__init__" else f"guard.{file}"]
    ).encode()
    return content, f"guard-{hashlib.sha256(content).hexdigest()[:12]}.py"
