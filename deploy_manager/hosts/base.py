"""The base of hosts whose commands are run by sh: quoting, folders, the log, exit codes."""

import contextlib
import secrets
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import BinaryIO

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import Cancelled, CommandFailed, RecipeError
from deploy_manager.hosts import shell
from deploy_manager.hosts.address import Sink, Stream
from deploy_manager.hosts.running import Running, Watch, no_sink
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.recipes.host import Command, Result

BLOCK_BYTES = 256 * 1024
SHOWN_LINES = 5
SHOWN_ERROR_CHARACTERS = 1000
UNSHOWN = "A command kept out of the log"


class ShellHost(ABC):
    """A host whose commands are run by sh. Subclasses start commands and write files."""

    def __init__(self, name: str, sink: Sink, cancelled: Event) -> None:
        self.name = name
        self._sink = sink
        self._cancelled = cancelled
        self._folder = ""

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        check: bool = True,
        quiet: bool = False,
        assume: Result | int = 0,
    ) -> Result:
        """See Host.run; `assume` is not used here.

        The command counts as ended once it has exited, even if a daemon it started still holds its
        output open: whatever the daemon prints later is lost.
        """
        line = shell.line_of(command)
        self._raise_if_cancelled()
        # Masked first: what is cut in the middle may be a secret.
        shown = "" if quiet else shell.shown(mask_text(line))
        if not quiet:
            self.say(f"$ {shown}")
        name = UNSHOWN if quiet else f"`{shown}`"
        limit = get_settings().STEP_TIMEOUT if timeout is None else timeout
        script = shell.script_of(line, self._folder)
        result = self._see_through(script, stdin, name, limit, no_sink if quiet else self._sink)
        if check and not result.ok:
            raise CommandFailed(_failure(name, result, quiet), result.exit_code)
        return result

    def put(self, content: bytes | Path, target: str, mode: int = 0o644) -> None:
        """See Host.put. A relative target is resolved in the folder of `cd`. Raises RecipeError."""
        self._raise_if_cancelled()
        path = shell.join(self._folder, target)
        # Beside the target, since rename(2) can't cross file systems.
        beside = f"{path}.{secrets.token_hex(6)}.part"
        try:
            self._write(self._blocks(content), path, beside, mode)
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise RecipeError(
                _("%(path)s could not be written on %(name)s: %(reason)s."),
                path=path,
                name=self.name,
                reason=reason,
            ) from error

    def get(self, source: str, target: Path, most: int) -> None:
        """See BuildHost.get. Also raises CommandTimedOut, Cancelled, ConnectionLost."""
        path = shell.join(self._folder, source)
        name = f"{path} of {self.name}"
        # By a sink, since a Result keeps only the last 1 MiB, and as text.
        with target.open("wb") as file:
            sink = _bounded_sink(file, name, most)
            script = shell.script_of(shlex.join(["cat", "--", path]), "")
            result = self._see_through(script, b"", name, get_settings().STEP_TIMEOUT, sink)
        if not result.ok:
            raise RecipeError(
                _("%(name)s could not be read: %(stderr)s"),
                name=name,
                stderr=mask_text(result.stderr.strip())[:1000],
            )

    @contextlib.contextmanager
    def cd(self, folder: str) -> Iterator[None]:
        """See Host.cd. A relative folder is resolved in that of the enclosing `with` block."""
        before = self._folder
        self._folder = shell.join(before, folder)
        try:
            yield
        finally:
            self._folder = before

    def say(self, text: str) -> None:
        """See Host.say."""
        # A recipe may name a file whose name is not UTF-8, with lone surrogates (PEP 383).
        self._sink(Stream.OUR_OWN, f"{text}\n".encode(errors="replace"))

    def _see_through(
        self, script: str, stdin: bytes, name: str, timeout: float, sink: Sink
    ) -> Result:
        with contextlib.closing(self._start(script, stdin)) as running:
            return Watch(running, sink, self._cancelled, timeout).see_through(name)

    @abstractmethod
    def close(self) -> None:
        """Hang up. May be called twice."""

    @abstractmethod
    def _start(self, script: str, stdin: bytes) -> Running:
        """Start a script in a process group of its own."""

    @abstractmethod
    def _write(self, blocks: Iterator[bytes], path: str, beside: str, mode: int) -> None:
        """Write blocks to `beside`, then rename it to `path`. Raises OSError."""

    def _blocks(self, content: bytes | Path) -> Iterator[bytes]:
        """Yield the content piece by piece. Raises Cancelled."""
        if isinstance(content, bytes):
            for start in range(0, len(content), BLOCK_BYTES):
                self._raise_if_cancelled()
                yield content[start : start + BLOCK_BYTES]
            return
        with content.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                self._raise_if_cancelled()
                yield block

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled(_("Cancelled: no further command was started."))


def _bounded_sink(file: BinaryIO, name: str, most: int) -> Sink:
    """Return a sink that writes stdout to a file and raises RecipeError beyond `most` bytes."""

    def take(stream: Stream, data: bytes) -> None:
        if stream is not Stream.STDOUT:
            return
        if file.tell() + len(data) > most:
            raise RecipeError(
                _("%(name)s is larger than %(most)s bytes, the most that is downloaded."),
                name=name,
                most=most,
            )
        file.write(data)

    return take


def _failure(name: str, result: Result, quiet: bool) -> Message:
    words = {"name": name, "number": result.exit_code}
    # Some programs (pip check, for one) write what is wrong to stdout.
    said = "" if quiet else mask_text(result.stderr or result.stdout)
    last = said.strip().splitlines()[-SHOWN_LINES:]
    if not last:
        return Message(_("%(name)s ended with exit code %(number)d."), **words)
    text = "\n".join(last)[-SHOWN_ERROR_CHARACTERS:]
    return Message(_("%(name)s ended with exit code %(number)d:\n%(said)s"), said=text, **words)
