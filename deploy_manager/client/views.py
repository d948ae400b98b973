"""What the command prints: for people on a terminal or in a file, or JSON lines for programs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

Row = Mapping[str, Any]
Cell = Callable[[Row], object]


class View:
    """Calls that are not for a view's readers do nothing, so that no command asks who reads."""

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer a question."""
        return False

    def event(self, event: Row) -> None:
        """Show what happened in a deployment, as the manager tells it."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Make a remark, for people and programs alike."""
        raise NotImplementedError

    def begin(self) -> None:
        """Get ready to show the servers of a deployment."""

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened."""

    def print(self, text: Text | str) -> None:
        """Print lines for people."""

    def remark(self, text: str) -> None:
        """Make a remark for people."""

    def table(self, rows: Iterable[Row], columns: Mapping[str, Cell]) -> None:
        """Print a table for people."""

    def write(self, event: str, **values: Any) -> None:
        """Write an event for programs."""

    def ask(self, question: str) -> str:
        """Return the answer of a person. Raises KeyboardInterrupt, and EOFError for no answer."""
        raise EOFError


class JsonLines(View):
    """An object for each event, the summary last: the same as those of `manage.py … --json`."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def event(self, event: Row) -> None:
        try:
            # JSON escapes every control character but DEL, which a terminal acts on as well.
            line = json.dumps(event).replace("\x7f", "\\u007f")
            self._console.file.write(f"{line}\n")
            self._console.file.flush()
        except BrokenPipeError:
            self._console.on_broken_pipe()

    def write(self, event: str, **values: Any) -> None:
        # The API's own objects may have a value of that name.
        self.event({**values, "event": event})

    def say(self, text: str) -> None:
        self.write("note", text=text)


def show_list(view: View, event: str, rows: Sequence[Row], columns: Mapping[str, Cell]) -> None:
    """Show rows, each an event for programs, and a summary of how many there are."""
    if rows:
        view.table(rows, columns)
    for row in rows:
        view.write(event, **row)
    view.write("summary", found=len(rows))
