"""What people see: plain lines, and on a terminal a live table of the servers below them."""

import select
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from deploy_manager.client.texts import clean, clean_line, plain, seconds_between
from deploy_manager.client.views import Cell, JsonLines, Row, View

SYMBOLS = {
    "waiting": ("…", "dim"),
    "queued": ("·", "dim"),
    "running": ("▸", "cyan"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "partly_failed": ("✗", "bold red"),
    "skipped": ("○", "dim"),
    "cancelled": ("■", "yellow"),
    "lost": ("?", "bold magenta"),
    "rolled_back": ("↶", "bold yellow"),
}
UNKNOWN = ("·", "dim")
"""The symbol of a state that a newer manager may have."""

LIVE = {"waiting", "queued", "running"}
COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "bright_cyan", "bright_magenta")
"""One for each server in turn; red is kept for failures."""

CTRL_C_POLL_SECONDS = 0.2
"""How often a question that waits for its answer looks for Ctrl-C."""

LINES_KEPT_FREE = 6
"""Lines of the terminal's height that the table leaves for the output above it."""

KEPT_FIRST = ("failed", "lost", "rolled_back", "running", "queued")
"""The states whose rows stay if the table is longer than the terminal, most important first."""

WIDTH_WITHOUT_TERMINAL = 1000
"""Columns of a pipe or a file: each row of a table stays on one line."""


class PlainConsole(Console):
    """A console that prints no control characters but those that rich makes itself."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(plain(segment.text), segment.style)


def make_console(out: IO[str], *, no_color: bool = False) -> Console:
    """Return a console that prints text as it is, in colours if the output shows them."""
    if reconfigure := getattr(out, "reconfigure", None):
        # A letter that the terminal's encoding lacks must not end the watch of a deployment.
        reconfigure(errors="replace")
    # Without `markup` and `emoji`: both would read what a server printed as orders.
    console = PlainConsole(
        file=out, no_color=no_color or None, highlight=False, markup=False, emoji=False
    )
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def make_view(console: Console, *, as_json: bool) -> View:
    """Return the view for programs, or the one for people that suits the console."""
    if as_json:
        return JsonLines(console)
    is_screen = console.is_terminal and not console.is_dumb_terminal
    return LiveTable(console) if is_screen else Lines(console)


class Lines(View):
    """Plain lines: the steps and output of each server, every line with the server's name."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._hosts: dict[str, Row] = {}
        self._steps: dict[str, Row] = {}
        self._prefixes: dict[str, tuple[str, str]] = {}

    @property
    def can_ask(self) -> bool:
        return sys.stdin.isatty()

    def event(self, event: Row) -> None:
        show = {
            "host": self._show_host,
            "step": self._show_step,
            "output": self._show_output,
            "summary": self._show_summary,
        }.get(str(event.get("event")), self._show_text)
        show(event)

    def print(self, text: Text | str) -> None:
        # Not wrapped by rich: a copied line stays one line.
        self._console.print(text if isinstance(text, Text) else Text(clean(text)), soft_wrap=True)

    def say(self, text: str) -> None:
        self.remark(text)

    def remark(self, text: str) -> None:
        self.print(Text(clean(text), "yellow"))

    def table(self, rows: Iterable[Row], columns: Mapping[str, Cell]) -> None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in columns:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell(row))) for cell in columns.values()))
        self._console.print(table)

    def ask(self, question: str) -> str:
        self._console.print(Text(clean(question), "bold"), end="")
        # A Ctrl-C just before input() begins to read is noticed only when a line has come.
        while not select.select([sys.stdin], [], [], CTRL_C_POLL_SECONDS)[0]:
            continue
        return self._console.input()

    def _show_host(self, event: Row) -> None:
        self._hosts[str(event.get("server"))] = event

    def _show_step(self, event: Row) -> None:
        server, state = str(event.get("server")), str(event.get("state"))
        if not event.get("started_at"):
            return
        self._steps[server] = event
        if state in LIVE:
            self._print_line(server, Text.assemble(SYMBOLS["running"], f" {_step(event)}"))
            return
        took = seconds_between(event.get("started_at"), event.get("finished_at"))
        symbol = SYMBOLS.get(state, UNKNOWN)
        self._print_line(server, Text.assemble(symbol, f" {_step(event)}", (f"  {took}", "dim")))
        for line in filter(None, clean(event.get("message")).splitlines()):
            self._print_line(server, Text(line, symbol[1]))

    def _show_output(self, event: Row) -> None:
        # A chunk ends at the end of a line, unless a line is too long for one chunk.
        for line in str(event.get("text", "")).removesuffix("\n").split("\n"):
            self._print_line(str(event.get("server")), clean_line(line))

    def _show_summary(self, event: Row) -> None:
        state = str(event.get("state"))
        symbol = SYMBOLS.get(state, UNKNOWN)
        took = seconds_between(event.get("started_at"), event.get("finished_at"))
        number = clean(event.get("deployment"))
        line = Text.assemble(symbol, f" #{number} ", (words_of(state), symbol[1]))
        self.print(Text.assemble(line, f" ({took})" if took else ""))
        if message := clean(event.get("message")):
            self.print(Text(message))

    def _show_text(self, event: Row) -> None:
        """Show an event of another kind: people are told what it tells in words."""
        if text := event.get("message") or event.get("text"):
            self.remark(str(text))

    def _prefix(self, server: str) -> tuple[str, str]:
        colour = COLOURS[len(self._prefixes) % len(COLOURS)]
        return self._prefixes.setdefault(server, (f"[{clean(server)}] ", colour))

    def _print_line(self, server: str, line: Text) -> None:
        self.print(Text.assemble(self._prefix(server), line))


class LiveTable(Lines):
    """The same lines, and below them a table of the step that each server is at."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        # Drawn after each event; a thread of rich's own would redraw unchanged rows.
        self._live = Live(console=console, auto_refresh=False)

    def begin(self) -> None:
        self._live.start()

    def event(self, event: Row) -> None:
        if event.get("event") == "summary":
            self._live.stop()
        super().event(event)
        if self._live.is_started:
            self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def ask(self, question: str) -> str:
        # The table would be drawn over what the person types.
        was_started = self._live.is_started
        self._live.stop()
        try:
            return super().ask(question)
        finally:
            if was_started:
                self._live.start()

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("server", "state", "step", "time"):
            table.add_column(title, no_wrap=True)
        hosts = list(self._hosts.values())
        shown = choose_rows(hosts, max(self._console.height - LINES_KEPT_FREE, 2))
        for host in shown:
            table.add_row(*self._row(host))
        if len(shown) < len(hosts):
            numbers = Counter(words_of(str(host.get("state"))) for host in hosts)
            counted = ", ".join(f"{number} {label}" for label, number in numbers.items())
            table.add_row("…", Text(counted, "dim"))
        return table

    def _row(self, host: Row) -> tuple[Text, ...]:
        server, state = str(host.get("server")), str(host.get("state"))
        symbol = SYMBOLS.get(state, UNKNOWN)
        step = self._steps.get(server)
        took = seconds_between(host.get("started_at"), host.get("finished_at"))
        return (
            Text(*self._prefix(server)),
            Text.assemble(symbol, " ", (words_of(state), symbol[1])),
            Text(_step(step) if step else ""),
            Text(took, "dim"),
        )


def choose_rows(hosts: Sequence[Row], room: int) -> Sequence[Row]:
    """Return the hosts that fit, in their order; those that failed or are running stay longest."""
    if len(hosts) <= room:
        return hosts

    def rank(host: Row) -> int:
        state: Any = host.get("state")
        return KEPT_FIRST.index(state) if state in KEPT_FIRST else len(KEPT_FIRST)

    kept = {id(host) for host in sorted(hosts, key=rank)[: room - 1]}
    return [host for host in hosts if id(host) in kept]


def words_of(state: str) -> str:
    """Return a state as people read it."""
    return clean(state).replace("_", " ")


def _step(event: Row) -> str:
    return clean(event.get("step")).replace("\n", " ")
