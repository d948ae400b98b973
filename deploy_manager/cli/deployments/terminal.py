"""A deployment on a terminal: each server's lines, and on a real one a table that stays below."""

import select
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy_manager.cli.deployments.course import Waves
from deploy_manager.cli.deployments.following import View
from deploy_manager.cli.text import clean, clean_line, seconds_between
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
"""One for each server in turn; red is left for what failed."""

LOOKS_UP_SECONDS = 0.2
"""How long a question waits before it looks whether Ctrl-C came."""

LINES_KEPT_FREE = 6
"""Of the terminal's height, around the table."""

TOLD_FIRST = (State.FAILED, State.LOST, State.ROLLED_BACK, State.RUNNING, State.QUEUED)
"""Whose rows stay where the table is longer than the terminal."""


class Lines(View):
    """Each server's steps and output as lines that begin with its name."""

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

    def show(self, progress: Progress) -> None:
        self._hosts.update({run.pk: run for run in progress.host_runs})
        changes: list[LogChunk | Step] = [*progress.chunks, *progress.steps]
        for change in sorted(changes, key=attrgetter("sequence")):
            if isinstance(change, LogChunk):
                self._show_output(change)
            else:
                self._show_step(change)

    def tell(self, text: Text) -> None:
        """Print lines that belong to no server."""
        self._console.print(text, soft_wrap=True)

    def list(self, table: Table) -> None:
        """Print a table."""
        self._console.print(table)

    def say(self, text: str) -> None:
        self.tell(Text(clean(text), "yellow"))

    def end(self, deployment: Deployment) -> None:
        state = State(deployment.state)
        took = seconds_between(deployment.started_at, deployment.finished_at)
        line = Text.assemble(
            SYMBOLS[state],
            f" {deployment.environment}: {deployment.recipe} #{deployment.pk} ",
            (str(state.label), SYMBOLS[state][1]),
            f" ({took})" if took else "",
        )
        self.tell(line)
        if deployment.message:
            self.tell(Text(clean(deployment.message)))

    def ask(self, question: str) -> str:
        """Return what the person types. Raises KeyboardInterrupt and EOFError."""
        self._console.print(Text(question, "bold"), end="")
        # input() sleeps through a Ctrl-C that comes just before it begins to read.
        while not select.select([sys.stdin], [], [], LOOKS_UP_SECONDS)[0]:
            continue
        return self._console.input()

    def _show_output(self, chunk: LogChunk) -> None:
        self._show_beginning(self._steps[chunk.host_run_id][chunk.step_id])
        for line in bytes(chunk.data).decode(errors="replace").removesuffix("\n").split("\n"):
            self._print(chunk.host_run_id, clean_line(line))

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
        self._print(step.host_run_id, line)
        for told in filter(None, clean(step.message).splitlines()):
            self._print(step.host_run_id, Text(told, SYMBOLS[state][1]))

    def _show_beginning(self, step: Step) -> None:
        if step.pk not in self._begun:
            self._begun.add(step.pk)
            self._show_wave(step)
            self._print(step.host_run_id, Text.assemble(SYMBOLS[State.RUNNING], f" {_title(step)}"))

    def _show_wave(self, step: Step) -> None:
        if (wave := self._waves.at(step.stage)) > self._wave:
            self._wave = wave
            self.tell(Text(self._waves.describe(wave), "bold"))

    def _print(self, host_run_id: int, line: Text) -> None:
        self.tell(Text.assemble(self._prefixes[host_run_id], line))


class LiveTable(Lines):
    """The same lines, and below them what each server does just now."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False)

    def begin(self, runs: Sequence[HostRun]) -> None:
        super().begin(runs)
        self._live.start()

    def show(self, progress: Progress) -> None:
        super().show(progress)
        self._live.update(self._table(), refresh=True)

    def end(self, deployment: Deployment) -> None:
        self._live.stop()
        super().end(deployment)

    def close(self) -> None:
        self._live.stop()

    def ask(self, question: str) -> str:
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
            table.add_row("…", Text(_count(hosts), "dim"))
        return table

    def _row(self, run: HostRun) -> tuple[Text, ...]:
        state = State(run.state)
        steps = _steps_taken(self._steps[run.pk].values())
        begun = max((step.number for step in steps if step.started_at), default=0)
        where = [f"{begun}/{len(steps)} {_title(step)}" for step in steps if step.number == begun]
        return (
            Text(*self._prefixes[run.pk]),
            Text.assemble(SYMBOLS[state], " ", (str(state.label), SYMBOLS[state][1])),
            Text("".join(where)),
            Text(seconds_between(run.started_at, run.finished_at), "dim"),
        )


def _title(step: Step) -> str:
    return f"{step.phase_name}: {step.title}" if step.is_rollback else step.title


def _steps_taken(steps: Iterable[Step]) -> list[Step]:
    """The steps of the way; those of the rollback only where they are needed."""
    return [step for step in steps if not step.is_rollback or step.started_at]


def choose_rows(hosts: Sequence[HostRun], room: int) -> Sequence[HostRun]:
    """Return the hosts that fit, in their order: what failed or is at work stays longest."""
    if len(hosts) <= room:
        return hosts
    by_need = sorted(hosts, key=lambda run: _need(State(run.state)))
    kept = {run.pk for run in by_need[: room - 1]}
    return [run for run in hosts if run.pk in kept]


def make_view(console: Console) -> Lines:
    """Return the view that fits what the console writes to."""
    is_screen = console.is_terminal and not console.is_dumb_terminal
    return LiveTable(console) if is_screen else Lines(console)


def _need(state: State) -> int:
    return TOLD_FIRST.index(state) if state in TOLD_FIRST else len(TOLD_FIRST)


def _count(hosts: list[HostRun]) -> str:
    """Like `12 succeeded, 3 queued`."""
    numbers = Counter(str(State(run.state).label) for run in hosts)
    return ", ".join(f"{number} {label}" for label, number in numbers.items())
