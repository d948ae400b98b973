"""What the doors of the command line share: who asks, and on what it is shown."""

import getpass
import os
import socket
from collections.abc import Sequence
from typing import IO, NoReturn

from django.core.management import CommandError
from rich.console import Console

from deploy_manager.exceptions import DeployManagerError, UnknownRecipe
from deploy_manager.models import Environment
from deploy_manager.recipes import Uses, all_stories
from deploy_manager.runner import Plan, make_plan

REFUSED = 2
"""Exit code for wrong usage, and for what was not even written."""


def who_asks() -> str:
    """Return `user@host` of this process; the account's number where it has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def check_plan(environment: Environment, recipe: str, ref: str, servers: Sequence[str]) -> Plan:
    """Return what would run. Raises CommandError (exit code 2) where that would fail as it stands.

    An explicit `ref` for a recipe that takes no code is refused, not ignored.
    """
    try:
        plan = make_plan(environment, recipe, ref, servers)
    except UnknownRecipe:
        names = ", ".join(story.name for story in all_stories())
        refuse(f"There is no recipe {recipe!r}. There are: {names}.")
    except DeployManagerError as error:
        refuse(str(error))
    if ref and plan.story.uses is not Uses.NEW:
        refuse(f"{recipe} takes no code: leave out --ref.")
    if plan.problems:
        refuse("\n".join(plan.problems))
    return plan


def refuse(why: str) -> NoReturn:
    """End the command before anything was written."""
    raise CommandError(why, returncode=REFUSED)


def make_console(out: IO[str], *, no_color: bool = False, force_color: bool = False) -> Console:
    """Return a console that prints what it is told as it is told, in colours where they show."""
    if reconfigure := getattr(out, "reconfigure", None):
        # A terminal that can't show a letter shows another one: that ends no deployment's watch.
        reconfigure(errors="replace")
    return Console(
        file=out,
        no_color=no_color or None,
        force_terminal=force_color or None,
        highlight=False,
        markup=False,
        emoji=False,
    )
