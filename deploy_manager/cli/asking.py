"""What the sources of the command line share: who asks, and on what it is shown."""

import os
import pwd
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NoReturn

from django.core.management import CommandError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from deploy_manager.deployments.plan import Plan, make_plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import DeployManagerError, UnknownRecipe
from deploy_manager.logs import plain
from deploy_manager.models import Environment
from deploy_manager.recipes import Uses, all_pipelines

REFUSED = 2
"""Exit code for wrong usage, and for what was not even written."""


WIDE = 1000
"""Columns of what is no terminal: a table that is piped has a line for each of its rows."""


SAY_WHO = ("SUDO_USER", "LOGNAME", "USER")
"""Variables that tell who sits at the keyboard, which anybody may set to anything."""

LONGEST_NAME = 64


def who_asks() -> str:
    """Return `account@host` of this process, by the system's own word.

    Whom its variables name besides stands behind it: `root@host (says alice)`. An account without
    a name is told by its number.
    """
    number = os.getuid()
    try:
        account = pwd.getpwuid(number).pw_name
    except KeyError:
        account = str(number)
    named = (os.environ.get(name, "") for name in SAY_WHO)
    arguments = next((name for name in named if name and name != account), "")
    shown = re.sub(r"[^\w.@\\$-]", "?", arguments)[:LONGEST_NAME]
    return f"{account}@{socket.gethostname()}" + (f" (says {shown})" if shown else "")


class PlainConsole(Console):
    """A console on which texts have no control characters but those that rich makes itself.

    What rows, files and servers say is printed here by many; this is the one place they all pass.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(plain(segment.text), segment.style)


def check_plan(environment: Environment, recipe: str, wanted: DeploymentOptions) -> Plan:
    """Return what would run. Raises CommandError (exit code 2) where that would fail as it stands.

    An explicit ref for a recipe that takes no code is refused, not ignored.
    """
    with refusals():
        plan = make_plan(environment, recipe, _ref(wanted), wanted.servers, wanted.release)
    if wanted.ref and plan.pipeline.uses is not Uses.NEW:
        refuse(f"{recipe} takes no code: leave out --ref.")
    if plan.problems:
        refuse("\n".join(plan.problems))
    return plan


def _ref(wanted: DeploymentOptions) -> str:
    """What was resolved before is not looked for anew."""
    return wanted.release.commit if wanted.release else wanted.commit or wanted.ref


@contextmanager
def refusals() -> Iterator[None]:
    """Have what is refused in this block end the command, and Ctrl-C, before a row is written."""
    try:
        yield
    except UnknownRecipe as error:
        names = ", ".join(pipeline.name for pipeline in all_pipelines())
        refuse(f"{str(error).partition('. ')[0]}. There are: {names}.")
    except DeployManagerError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        refuse("Stopped before anything was asked for.")


def refuse(why: str) -> NoReturn:
    """End the command before anything was written."""
    raise CommandError(why, returncode=REFUSED)


def make_console(out: IO[str], *, no_color: bool = False, force_color: bool = False) -> Console:
    """Return a console that prints what it is told as it is told, in colours where they show."""
    if reconfigure := getattr(out, "reconfigure", None):
        # A terminal that can't show a letter shows another one: that ends no deployment's watch.
        reconfigure(errors="replace")
    console = PlainConsole(
        file=out,
        no_color=no_color or None,
        force_terminal=force_color or None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if not console.is_terminal:
        console.width = WIDE
    return console
