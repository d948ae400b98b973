"""Keep deployments going where bells got lost or workers died, and begin what is due."""

import signal
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from contextlib import suppress
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, connections

from deploy_manager import dispatch
from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.text import clean
from deploy_manager.reconcile import reconcile

ENDINGS = {signal.SIGINT, signal.SIGTERM}
NOTHING = "There was nothing to do."
LONGEST_PAUSE = 60.0
"""Seconds between two looks for a database that is away."""


class Command(ConsoleCommand):
    help = (
        "Ring again for what no worker took, replace silent ones, begin what waits or is due."
        " Where a beat schedule has the reconcile loop, nobody needs this."
    )

    _told = ""
    """What was wrong at the reconcile loop before."""

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--forever",
            type=_seconds,
            metavar="SECONDS",
            help="again and again, with a pause of so many seconds, until Ctrl-C or SIGTERM",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forever"] is None:
            self._reconcile(options)
            return
        # Held back, a signal ends the waiting and never a reconcile loop in its middle.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        pause = options["forever"]
        while True:
            if self._reconcile_and_go_on(options):
                pause = options["forever"]
            else:
                pause = max(options["forever"], min(2 * pause, LONGEST_PAUSE))
            if signal.sigtimedwait(ENDINGS, pause):
                return

    def _reconcile(self, options: dict[str, Any], tells_nothing: bool = True) -> None:
        try:
            done = reconcile(dispatch.wake_for_shard) + dispatch.gather()
        except DatabaseError as error:
            raise CommandError(f"The deployments can't be read: {error}") from None
        if done or tells_nothing:
            self._tell(done, options)

    def _reconcile_and_go_on(self, options: dict[str, Any]) -> bool:
        """Reconcile, whatever comes of it; False if the database is away or nothing can be done.

        Nothing ends the loop but a signal: not even that nobody reads any more what it prints.
        """
        problem = ""
        try:
            self._reconcile(options, tells_nothing=False)
        except CommandError as error:
            problem = clean(str(error))
        except (Exception, SystemExit) as error:
            problem = clean(f"The reconcile loop stopped on {type(error).__name__}: {error}")
        if problem and problem != self._told:  # once, not at each reconcile
            with suppress(Exception):
                self.stderr.write(problem)
        self._told = problem
        with suppress(Exception):  # a connection that is broken may not even close
            connections.close_all()
        return not problem

    def _tell(self, done: Counter[str], options: dict[str, Any]) -> None:
        view = self.make_view(options)
        if isinstance(view, JsonLines):
            view.write("reconciled", done=dict(done))
        else:
            view.say(", ".join(f"{name}: {times}" for name, times in done.items()) or NOTHING)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise ArgumentTypeError(f"{text} is no number of seconds, like 5.")
    return seconds
