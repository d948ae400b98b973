"""View: the output of a command, for people or for programs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from deploy_manager.deployments.progress import Progress
from deploy_manager.models import Deployment, HostRun


class View(ABC):
    """Shows a deployment as it runs, reports, and single lines.

    `print`, `print_table` and `remark` are for people, `write` is for programs: a view ignores the
    calls that are not for its readers, so that a command makes both and never asks which view it
    has.
    """

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to answer a question."""
        return False

    @abstractmethod
    def begin(self, runs: Sequence[HostRun]) -> None:
        """Take the hosts of a deployment with their steps, before anything is shown."""

    @abstractmethod
    def update(self, progress: Progress) -> None:
        """Show what changed in a deployment."""

    @abstractmethod
    def end(self, deployment: Deployment) -> None:
        """Show how a deployment ended, or its state when the watcher left."""

    def close(self) -> None:
        """Leave the terminal as it was, whatever happened."""
        return

    @abstractmethod
    def show(self, report: "Report") -> None:
        """Show a report in the form for this view's readers."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Make a remark, for people and programs alike."""

    def remark(self, text: str) -> None:
        """Make a remark for people."""
        return

    def print(self, text: Text) -> None:
        """Print lines for people."""
        return

    def print_table(self, table: Table) -> None:
        """Print a table for people."""
        return

    def write(self, event: str, **values: Any) -> None:
        """Write an event for programs."""
        return

    def ask(self, question: str) -> str:
        """Return the answer of a person. Raises KeyboardInterrupt, and EOFError for no answer."""
        raise EOFError


class Report(ABC):
    """Rows that a command lists: a table for people, an event for each row for programs.

    Only the form that is needed is built, since either may read the database.
    """

    @abstractmethod
    def print_on(self, view: View) -> None:
        """Print it for people."""

    @abstractmethod
    def write_on(self, view: View) -> None:
        """Write it as events for programs."""


def make_table(*titles: str) -> Table:
    """Return a table without lines, whose long cells go on in the next line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
