"""The views for people: plain lines, and on a terminal a live table below them."""

import select
import sys
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy_manager.cli.deployments.waves import Waves
from deploy_manager.cli.text import clean, clean_line, seconds_between
from deploy_manager.cli.views.base import Report, View
from deploy_manager.cli.views.json_lines import JsonLines
from deploy_manager.deployments.progress import Progress
from deploy_manager.models import Deployment, HostRun, LogChunk, State, Step

SYMBOLS = {
    State.WAITING: ("…", "dim"),
    State.QUEUED: ("·", "dim"),
    State.RUNNING: ("▸", "cyan"),
    State.SUCCEEDED: ("✓", "green"),
    State.FAILED: ("✗", "bold red"),
    State.PARTLY_FAILED: ("✗", "bold red"),
    State.SKIPPED: ("○", "dim"),
    State.CANCELLED: ("■", "yellow"),
    State.LOST: ("?", "bold magenta"),
    State.ROLLED_BACK: ("↶", "bold yellow"),
}
COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "bright_cyan", "bright_magenta")
"""One for each server in turn; red is kept for failures."""

CTRL_C_POLL_SECONDS = 0.2
"""How often a question that waits for its answer looks for Ctrl-C."""

LINES_KEPT_FREE = 6
"""Lines of the terminal's height that the table leaves for the output above it."""

KEPT_FIRST = (State.FAILED, State.LOST, State.ROLLED_BACK, State.RUNNING, State.QUEUED)
"""The states whose rows stay if the table is longer than the terminal, most important first."""


class Lines(View):
    """Plain lines: the steps and output of each server, every line with the server's name."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._hosts: dict[int, HostRun] = {}
        self._steps: dict[int, dict[int, Step]] = {}
        self._prefixes: dict[int, tuple[str, str]] = {}
        self._begun: set[int] = set()
        self._waves = Waves(())
        self._wave = 0

    def begin(self, runs: Sequence[HostRun]) -> None:
        self._waves = Waves(runs)
        for index, run in enumerate(runs):
            self._hosts[run.pk] = run
            self._steps[run.pk] = {step.pk: step for step in run.steps.all()}
            self._prefixes[run.pk] = (f"[{run.server_name}] ", COLOURS[index % len(COLOURS)])

    def update(self, progress: Progress) -> None:
        self._hosts.update({run.pk: run for run in progress.host_runs})
        changes: list[LogChunk | Step] = [*progress.chunks, *progress.steps]
        for change in sorted(changes, key=attrgetter("sequence")):
            if isinstance(change, LogChunk):
                self._show_output(change)
            else:
                self._show_step(change)

    @property
    def can_ask(self) -> bool:
        return sys.stdin.isatty()

    def show(self, report: Report) -> None:
        report.print_on(self)

    def print(self, text: Text) -> None:
        # Not wrapped by rich: a copied line stays one line.
        self._console.print(text, soft_wrap=True)

    def print_table(self, table: Table) -> None:
        self._console.print(table)

    def say(self, text: str) -> None:
        self.remark(text)

    def remark(self, text: str) -> None:
        self.print(Text(clean(text), "yellow"))

    def end(self, deployment: Deployment) -> None:
        state = State(deployment.state)
        took = seconds_between(deployment.started_at, deployment.finished_at)
        line = Text.assemble(
            SYMBOLS[state],
            f" {deployment.environment}: {deployment.recipe} #{deployment.pk} ",
            (str(state.label), SYMBOLS[state][1]),
            f" ({took})" if took else "",
        )
        self.print(line)
        if deployment.message:
            self.print(Text(clean(str(deployment.message))))

    def ask(self, question: str) -> str:
        self._console.print(Text(question, "bold"), end="")
        # A Ctrl-C just before input() begins to read is noticed only when a line has come.
        while not select.select([sys.stdin], [], [], CTRL_C_POLL_SECONDS)[0]:
            continue
        return self._console.input()

    def _show_output(self, chunk: LogChunk) -> None:
        self._show_beginning(self._steps[chunk.host_run_id][chunk.step_id])
        # A chunk ends at the end of a line, unless a line is too long for one chunk.
        for line in bytes(chunk.data).decode(errors="replace").removesuffix("\n").split("\n"):
            self._print_line(chunk.host_run_id, clean_line(line))

    def _show_step(self, step: Step) -> None:
        self._steps[step.host_run_id][step.pk] = step
        if step.started_at is None:
            return
        self._show_beginning(step)
        state = State(step.state)
        if state.is_live:
            return
        took = seconds_between(step.started_at, step.finished_at)
        line = Text.assemble(SYMBOLS[state], f" {_title(step)}", (f"  {took}", "dim"))
        self._print_line(step.host_run_id, line)
        for message in filter(None, clean(str(step.message)).splitlines()):
            self._print_line(step.host_run_id, Text(message, SYMBOLS[state][1]))

    def _show_beginning(self, step: Step) -> None:
        if step.pk in self._begun:
            return
        self._begun.add(step.pk)
        if (wave := self._waves.at(step.stage)) > self._wave:
            self._wave = wave
            self.print(Text(self._waves.describe(wave), "bold"))
        line = Text.assemble(SYMBOLS[State.RUNNING], f" {_title(step)}")
        self._print_line(step.host_run_id, line)

    def _print_line(self, host_run_id: int, line: Text) -> None:
        self.print(Text.assemble(self._prefixes[host_run_id], line))


class LiveTable(Lines):
    """The same lines, and below them a table of the step that each server is at."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        # Drawn after each read of the rows; a thread of rich's own would redraw unchanged rows.
        self._live = Live(console=console, auto_refresh=False)

    def begin(self, runs: Sequence[HostRun]) -> None:
        super().begin(runs)
        self._live.start()

    def update(self, progress: Progress) -> None:
        super().update(progress)
        self._live.update(self._table(), refresh=True)

    def end(self, deployment: Deployment) -> None:
        self._live.stop()
        super().end(deployment)

    def close(self) -> None:
        self._live.stop()

    def ask(self, question: str) -> str:
        # The table would be drawn over what the person types.
        self._live.stop()
        try:
            return super().ask(question)
        finally:
            self._live.start()

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("server", "state", "step", "time"):
            table.add_column(title, no_wrap=True)
        hosts = list(self._hosts.values())
        shown = choose_rows(hosts, max(self._console.height - LINES_KEPT_FREE, 2))
        for run in shown:
            table.add_row(*self._row(run))
        if len(shown) < len(hosts):
            # Like `12 succeeded, 3 queued`.
            numbers = Counter(str(State(run.state).label) for run in hosts)
            counted = ", ".join(f"{number} {label}" for label, number in numbers.items())
            table.add_row("…", Text(counted, "dim"))
        return table

    def _row(self, run: HostRun) -> tuple[Text, ...]:
        state = State(run.state)
        # The steps of the rollback count only once they are needed.
        steps = [
            step for step in self._steps[run.pk].values() if not step.is_rollback or step.started_at
        ]
        begun = max((step.number for step in steps if step.started_at), default=0)
        current = [f"{begun}/{len(steps)} {_title(step)}" for step in steps if step.number == begun]
        return (
            Text(*self._prefixes[run.pk]),
            Text.assemble(SYMBOLS[state], " ", (str(state.label), SYMBOLS[state][1])),
            Text("".join(current)),
            Text(seconds_between(run.started_at, run.finished_at), "dim"),
        )


def _title(step: Step) -> str:
    return f"{step.phase_name}: {step.title}" if step.is_rollback else step.title


def choose_rows(hosts: Sequence[HostRun], room: int) -> Sequence[HostRun]:
    """Return the hosts that fit, in their order; those that failed or are running stay longest."""
    if len(hosts) <= room:
        return hosts

    def rank(run: HostRun) -> int:
        state = State(run.state)
        return KEPT_FIRST.index(state) if state in KEPT_FIRST else len(KEPT_FIRST)

    kept = {run.pk for run in sorted(hosts, key=rank)[: room - 1]}
    return [run for run in hosts if run.pk in kept]


def make_view(console: Console, *, as_json: bool = False) -> View:
    """Return the view for programs, or the one for people that suits the console."""
    if as_json:
        return JsonLines(console)
    is_screen = console.is_terminal and not console.is_dumb_terminal
    return LiveTable(console) if is_screen else Lines(console)
