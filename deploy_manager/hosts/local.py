"""This machine as a host: commands by subprocess, files by rename."""

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import IO

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.hosts import shell
from deploy_manager.hosts.address import Sink, Stream
from deploy_manager.hosts.base import ShellHost
from deploy_manager.hosts.pipes import LocalPipe
from deploy_manager.hosts.running import Piece

READ_BYTES = 64 * 1024
PASSED_ON = frozenset(
    {
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "XDG_RUNTIME_DIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    }
)
PASSED_ON_PREFIXES = ("LC_", "PIP_", "UV_")


class LocalHost(ShellHost):
    """This machine. Commands start in the account's home, as they do over SSH."""

    def __init__(self, name: str, sink: Sink, cancelled: Event) -> None:
        super().__init__(name, sink, cancelled)
        home = Path(os.path.expanduser("~"))
        # A system account may have no home, and a command could not be started there. That of an
        # account without an entry in the system's list, as in containers, is not even known.
        self._home = home if home.is_absolute() and home.is_dir() else Path("/")

    def close(self) -> None:
        """Do nothing: no connection is held open between commands."""

    def open_pipe(self, line: str) -> LocalPipe:
        """Start a line of sh and return a pipe to it. Raises RecipeError."""
        try:
            process = subprocess.Popen(
                # In bytes, which the worker's locale can't change or refuse.
                ["/bin/sh", "-c", line.encode()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._home,
                env=command_environment(),
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise RecipeError(
                _("A program could not be started: %(strerror)s."), strerror=error.strerror
            ) from error
        return LocalPipe(process, self.name)

    def _start(self, script: str, stdin: bytes) -> "LocalRunning":
        try:
            process = subprocess.Popen(
                # In bytes, which the worker's locale can't change or refuse.
                ["/bin/sh", "-c", script.encode()],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._home,
                env=command_environment() | shell.UTF8,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise RecipeError(
                _("A command could not be started: %(strerror)s."), strerror=error.strerror
            ) from error
        return LocalRunning(process, stdin)

    def _write(self, blocks: Iterator[bytes], path: str, beside: str, mode: int) -> None:
        target, temporary = self._home / path, self._home / beside
        try:
            with open(temporary, "xb", opener=_private) as file:
                file.writelines(blocks)
                # Of a mode given to open() the umask would take bits away.
                os.fchmod(file.fileno(), mode)
                file.flush()
                # Otherwise a crash after the rename may leave an empty file under the final name.
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


class LocalRunning:
    """A child process and its three streams."""

    def __init__(self, process: "subprocess.Popen[bytes]", stdin: bytes) -> None:
        self._process = process
        self._input = memoryview(stdin)
        self._selector = selectors.DefaultSelector()
        self._outputs = 2
        for pipe, stream in ((process.stdout, Stream.STDOUT), (process.stderr, Stream.STDERR)):
            assert pipe is not None  # noqa: S101  both were asked for
            self._selector.register(pipe, selectors.EVENT_READ, stream)
        if process.stdin is not None:
            # Else we might wait for it to read while it waits for us to do so.
            os.set_blocking(process.stdin.fileno(), False)
            self._selector.register(process.stdin, selectors.EVENT_WRITE)

    @property
    def exit_code(self) -> int | None:
        """The exit code; 128 + N for signal N, as sh reports it."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    @property
    def is_drained(self) -> bool:
        return self._outputs == 0

    def read(self, seconds: float) -> Sequence[Piece]:
        if self.is_drained:
            # No pipe is left that could wake a select: only its end can.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return []
        pieces = []
        for key, _events in self._selector.select(seconds):
            if key.data is None:
                self._feed()
            elif data := os.read(key.fd, READ_BYTES):
                pieces.append((key.data, data))
            else:
                self._selector.unregister(key.fileobj)
                self._outputs -= 1
        return pieces

    def stop(self) -> bool:
        command = shell.stop_command(self._process.pid)
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0

    def close(self) -> None:
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                _close(pipe)
        # Else one that has ended stays a zombie.
        self._process.poll()

    def _feed(self) -> None:
        """Write as much as the pipe takes; a command may end without reading all of its input."""
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101  it is registered
        try:
            self._input = self._input[os.write(pipe.fileno(), self._input) :]
        except BrokenPipeError:
            # As `yes | head`: whether that is an error, its exit code says.
            self._input = self._input[:0]
        if not self._input:
            self._selector.unregister(pipe)
            _close(pipe)


def command_environment() -> dict[str, str]:
    """Return the environment of local commands: only the variables listed in PASSED_ON.

    The worker's virtual environment, settings module and secrets stay with the worker.
    """
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    # Else `python3` of a local server would be the worker's own.
    virtualenvs = {os.environ.get("VIRTUAL_ENV", "")}
    if sys.prefix != sys.base_prefix:  # started by its path, without activation
        virtualenvs.add(sys.prefix)
    # By real paths: a virtual environment may be on PATH through a link.
    own = {os.path.realpath(Path(root) / "bin") for root in virtualenvs if root}
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(each for each in folders if os.path.realpath(each) not in own)
    return {**passed_on, "PATH": path or os.defpath}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _close(pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        pipe.close()
