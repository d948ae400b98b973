"""The console that everything on a command line is printed on."""

from collections.abc import Iterable
from typing import IO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from deploy_manager.logs import plain

WIDTH_WITHOUT_TERMINAL = 1000
"""Columns of a pipe or a file: each row of a table stays on one line."""


class PlainConsole(Console):
    """A console that prints no control characters but those that rich makes itself.

    Names, messages and output of rows, files and servers are printed by many commands; they all
    pass here.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(plain(segment.text), segment.style)


def make_console(out: IO[str], *, no_color: bool = False, force_color: bool = False) -> Console:
    """Return a console that prints text as it is, in colours if the output shows them."""
    if reconfigure := getattr(out, "reconfigure", None):
        # A letter that the terminal's encoding lacks must not end the watch of a deployment.
        reconfigure(errors="replace")
    console = PlainConsole(
        file=out,
        no_color=no_color or None,
        force_terminal=force_color or None,
        highlight=False,
        # Both would read `[one]` or `:tada:` in a server's output as orders.
        markup=False,
        emoji=False,
    )
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console
