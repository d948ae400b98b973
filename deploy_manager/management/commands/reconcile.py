"""`manage.py reconcile`: wake and replace workers, and start deployments that are due."""

import signal
from argparse import ArgumentParser
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, connections

from deploy_manager import dispatch
from deploy_manager.cli.base import ConsoleCommand, duration
from deploy_manager.cli.text import clean
from deploy_manager.reconcile import reconcile

END_SIGNALS = {signal.SIGINT, signal.SIGTERM}
LONGEST_PAUSE = 60.0
"""Seconds between two attempts while the database is away."""


class Command(ConsoleCommand):
    help = (
        "Wake workers for deployments that none has taken, replace silent workers, and start what"
        " waits or is due. Not needed if celery beat schedules the task deploy_manager.reconcile."
    )

    _last_problem = ""

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--forever",
            # A number alone is seconds, as the schedules of Celery have them.
            type=lambda text: duration(f"{text}s" if text.isdecimal() else text),
            metavar="5s",
            help="repeat with a pause of this length, until Ctrl-C or SIGTERM",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["forever"] is None:
            self._reconcile(options)
            self.make_view(options).write("summary", state="done")
            return
        if not timedelta() < options["forever"] < timedelta(days=1):
            raise CommandError("--forever takes a pause above 0 and below a day, like 5s.")
        # A blocked signal ends the pause below, and never reconcile in the middle of its work.
        signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
        normal = pause = options["forever"].total_seconds()
        while True:
            if self._reconcile_and_go_on(options):
                pause = normal
            else:
                pause = max(normal, min(2 * pause, LONGEST_PAUSE))
            if signal.sigtimedwait(END_SIGNALS, pause):
                return

    def _reconcile(self, options: dict[str, Any], *, is_quiet: bool = False) -> None:
        """Reconcile once and show what was done. Raises CommandError without a database."""
        try:
            done = reconcile(dispatch.wake_for_shard) + dispatch.gather()
        except DatabaseError as error:
            raise CommandError(f"The deployments can't be read: {error}") from None
        if done or not is_quiet:
            # Made only after the work, which must go on when the output is broken.
            view = self.make_view(options)
            view.write("reconciled", done=dict(done))
            lines = ", ".join(f"{name}: {times}" for name, times in done.items())
            view.remark(lines or "There was nothing to do.")

    def _reconcile_and_go_on(self, options: dict[str, Any]) -> bool:
        """Reconcile once; return whether that worked. No error ends the loop."""
        problem = ""
        try:
            self._reconcile(options, is_quiet=True)
        except CommandError as error:
            problem = clean(str(error))
        # SystemExit comes from a view whose reader has closed the pipe: the work goes on.
        except (Exception, SystemExit) as error:
            problem = clean(f"Reconcile stopped with {type(error).__name__}: {error}")
        if problem and problem != self._last_problem:  # once, not after each pause
            with suppress(Exception):
                self.stderr.write(problem)
        self._last_problem = problem
        # A broken connection may not even close. The next pass opens a new one.
        with suppress(Exception):
            connections.close_all()
        return not problem
