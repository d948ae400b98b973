"""A host for dry runs: shows each command and changes nothing."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy_manager.hosts import shell
from deploy_manager.logs import mask_text
from deploy_manager.recipes.host import Command, Result


class DryHost:
    """Shows each command and each file as they would be run and sent.

    A command ends as the recipe lets a dry run assume (`assume`). The lines are masked as a log is.
    """

    def __init__(self, name: str, show: Callable[[str], None]) -> None:
        self.name = name
        self._show_line = show
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
        """See Host.run. The whole line is shown, even if a log would leave it out."""
        line = shell.line_of(command)
        enter = f"cd {shlex.quote(self._folder)} && " if self._folder else ""
        fed = f"  # {len(stdin)} bytes on standard input" if stdin else ""
        self._show(f"$ {enter}{line}{fed}")
        return assume if isinstance(assume, Result) else Result(assume, "", "")

    def put(self, content: bytes | Path, target: str, mode: int = 0o644) -> None:
        """See Host.put. The content is not shown: it may be secret."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        path = shell.join(self._folder, target)
        self._show(f"put {size} bytes -> {path} (mode {mode:o})")

    @contextlib.contextmanager
    def cd(self, folder: str) -> Iterator[None]:
        """See Host.cd."""
        before = self._folder
        self._folder = shell.join(before, folder)
        try:
            yield
        finally:
            self._folder = before

    def say(self, text: str) -> None:
        """See Host.say."""
        self._show(f"# {text}")

    def _show(self, text: str) -> None:
        self._show_line(mask_text(text))
