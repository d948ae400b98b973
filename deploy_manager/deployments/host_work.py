"""A deployment on one server: its steps in order, and the truth about how they ended."""

import logging
import re
import shlex
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_noop

from deploy_manager.deployments.step_log import StepLog
from deploy_manager.deployments.writer import Change, Seen, Writer
from deploy_manager.exceptions import (
    Cancelled,
    ClaimLost,
    CommandFailed,
    ConnectionLost,
    DeployManagerError,
    HandedOver,
)
from deploy_manager.hosts.address import Address, Stream
from deploy_manager.hosts.guard_line import Work
from deploy_manager.hosts.guarded import GuardedHost, ResumeCursor, open_guarded
from deploy_manager.logs import mask_text
from deploy_manager.models import HostRun, Placement, State, Step
from deploy_manager.recipes import Site, get_recipe

logger = logging.getLogger(__name__)

ACTIVATE = "activate"
"""The recipe that makes a release current."""

LOOK = (
    "readlink current 2>/dev/null || echo;"
    ' for whole in releases/*/.complete; do [ -e "$whole" ] && echo "$whole"; done; true'
)
"""Prints where `current` leads, then the mark of each release that is whole."""

MARK_OF_A_RELEASE = re.compile(
    r"releases/(?![^/]*\.part/)([A-Za-z0-9][A-Za-z0-9._-]{0,99})/\.complete"
)


@dataclass(frozen=True)
class Orders:
    """What a host's work needs to know of the rows; it touches no database itself."""

    run: HostRun
    placement: Placement
    site: Site
    address: Address
    work: Work
    releases: Mapping[str, int]
    """The environment's releases: names, and the keys of their rows."""

    rolls_back: bool = False
    """Whether the environment wants a server back on what it served when it fails."""

    before: str = ""
    """The release that served before this deployment, as far as it was written down."""

    def site_for(self, step: Step, before: str = "") -> Site:
        """Return what a step's recipe is handed: on the rollback, the release before."""
        if not step.is_rollback:
            return self.site
        return replace(self.site, release=before or self.before, keep_database=True)


class HostWork:
    """Runs the steps of one host, keeps its connection, and reports every change to the writer.

    A step that a worker before left running is run again from its start: the guard on the server
    answers the commands that were done, and none is done twice.
    """

    def __init__(self, orders: Orders, writer: Writer) -> None:
        self.run = orders.run
        self.state = State(orders.run.state)
        self.is_left_to_others = False
        """Whether somebody else goes on with it: then nothing more is said about its end."""

        self._orders = orders
        self._before = orders.before
        self._site = orders.site
        self._steps = list(orders.run.steps.all())
        self._writer = writer
        self._cancelled = writer.stop
        self._host: GuardedHost | None = None
        self._log = StepLog(writer)

    @property
    def is_live(self) -> bool:
        return self.state.is_live and not self.is_left_to_others

    @property
    def is_in_doubt(self) -> bool:
        """Whether something of it may be under way of which nobody wrote the end."""
        return any(step.state == State.RUNNING for step in self._steps)

    def has_work_in(self, stage: int) -> bool:
        return self.is_live and any(self._to_run(stage))

    def run_stage(self, stage: int) -> None:
        """Run this host's steps of a stage, up to the first that fails; then look what serves.

        This is the border of a host: what is raised around its steps ends this one and no other.
        """
        try:
            self._run_stage(stage)
        except ClaimLost:
            self.is_left_to_others = True
        except Exception as error:
            logger.exception("%s stopped on an error", self.run)
            self._stop_on(f"{type(error).__name__}: {error}")

    def _stop_on(self, why: str) -> None:
        """End it as what it is: unknown only where a command of it may be on its way."""
        if not self.is_live:
            return
        if self._host is not None and any(step.state == State.RUNNING for step in self._steps):
            self.stop(State.LOST, mask_text(f"{why}. Look at the server."))
        else:
            self.stop(State.FAILED, mask_text(f"{why}."))

    def _run_stage(self, stage: int) -> None:
        for step in self._to_run(stage):
            if self.is_live:
                self._run_step(step)
        if not self.is_left_to_others:
            self._look()
        if self.is_live and any(step.stage == stage for step in self._rollback):
            self._end_host(State.ROLLED_BACK, f"Rolled back to {self._before}.")

    def stop(self, state: State, message: str) -> None:
        """End a host that is still live, with what is left of its steps.

        Where all of them succeeded it came through, whatever the reason to stop the others is.
        """
        if self.is_live:
            came_through = all(step.state == State.SUCCEEDED for step in self._way)
            self._end_host(*((State.SUCCEEDED, "") if came_through else (state, message)))

    def _end_host(self, state: State, message: str) -> None:
        self.state = state
        for step in self._steps:
            if State(step.state).is_live:
                self._end(step, _left_as(step, state), message)
        self._end(self.run, state, message)

    def close(self) -> None:
        """Hang up. What others go on with is left to run."""
        if self._host is not None:
            self._host.close()

    @property
    def _way(self) -> list[Step]:
        return [step for step in self._steps if not step.is_rollback]

    @property
    def _rollback(self) -> list[Step]:
        return [step for step in self._steps if step.is_rollback]

    def _to_run(self, stage: int) -> list[Step]:
        return [step for step in self._steps if step.stage == stage and State(step.state).is_live]

    def _run_step(self, step: Step) -> None:
        state, message = self._see_through(step)
        if state in (State.FAILED, State.CANCELLED):
            self._give_up(step, state, f"{step.title}: {message}")
        elif state is not State.SUCCEEDED:
            self.stop(state, f"{step.title}: {message}")

    def _see_through(self, step: Step) -> tuple[State, str]:
        """Run a step and write how it ended; it stays *running* where others go on with it."""
        self._begin(step)
        state, message, exit_code = self._outcome(step)
        message = mask_text(message)
        if not self.is_left_to_others:
            self._log.end()
            self._end(step, state, message, exit_code=exit_code)
        return state, message

    def _outcome(self, step: Step) -> tuple[State, str, int | None]:
        """Run a step. This is the border of a host: no error goes past it."""
        try:
            self._run_recipe(step)
        except (HandedOver, ClaimLost):
            self.is_left_to_others = True
            return State.RUNNING, "", None
        except Cancelled as error:
            return State.CANCELLED, str(error), None
        except ConnectionLost as error:
            return State.LOST, str(error), None
        except DeployManagerError as error:
            code = error.exit_code if isinstance(error, CommandFailed) else None
            return State.FAILED, str(error), code
        except (Exception, SystemExit) as error:
            self._log(Stream.OUR_OWN, traceback.format_exc().encode(errors="replace"))
            return State.FAILED, f"The recipe raised {type(error).__name__}: {error}", None
        return State.SUCCEEDED, "", 0

    def _run_recipe(self, step: Step) -> None:
        if self._cancelled.is_set() and not step.resume_cursor:
            raise Cancelled(gettext_noop("Cancelled before it began."))
        if self._writer.leave.is_set():
            raise HandedOver
        host = self._open()
        recipe = get_recipe(step.recipe)
        host.begin_step(step.number, ResumeCursor(**step.resume_cursor), step.once)
        recipe.function(host, self._orders.site_for(step, self._before))

    def _open(self) -> GuardedHost:
        if self._host is None:
            self._host = self._connect()
            self._note_what_serves_before()
        return self._host

    def _connect(self) -> GuardedHost:
        """Connect to the guard. Raises ClaimLost where somebody else goes on; see open_guarded."""
        try:
            return open_guarded(
                self._orders.address,
                self._orders.work,
                self._log,
                self._cancelled,
                may_go_on=self._writer.still_holds,
                handed_over=self._writer.leave,
            )
        except ClaimLost:
            if not self._writer.still_holds():
                raise
        raise DeployManagerError(
            f"{self._orders.address.name} was told of a later deployment of this site than this"
            " one. Was the database restored, or copied? If nobody else deploys there, remove"
            f" {self._orders.work.folder}/fence.json on the server."
        )

    def _begin(self, step: Step) -> None:
        if self.state is State.QUEUED:
            self.state = State.RUNNING
            self._put(self.run, state=State.RUNNING, started_at=timezone.now())
        if step.state == State.QUEUED:
            step.state = State.RUNNING
            self._put(step, state=State.RUNNING, started_at=timezone.now())
        self._log.begin(step, ResumeCursor(**step.resume_cursor))

    def _end(self, row: HostRun | Step, state: State, message: str, **values: Any) -> None:
        row.state, row.finished_at = state, timezone.now()
        self._put(row, state=state, message=message, finished_at=row.finished_at, **values)

    def _put(self, row: HostRun | Step, **values: Any) -> None:
        self._writer.put(Change(row, values))

    def _give_up(self, step: Step, state: State, message: str) -> None:
        """End the host; first bring back what it served, where that is wanted or half done.

        A cancellation between the switch and the proof that it serves leaves nothing half done.
        """
        wants_back = self._orders.rolls_back or state is State.CANCELLED
        may_go_back = wants_back and step not in self._rollback and self._was_switched()
        if may_go_back and self._go_back():
            message = f"{message}\nRolled back to {self._before}."
            state = State.ROLLED_BACK if state is State.FAILED else state
        self.stop(state, message)

    def _go_back(self) -> bool:
        """Whether every step of the rollback succeeded; no cancellation stops it half-way."""
        if self._writer.stop.is_set():
            self.close()
            self._host = None
            self._cancelled = threading.Event()
        return all(self._see_through(step)[0] is State.SUCCEEDED for step in self._rollback)

    def _was_switched(self) -> bool:
        self._look()
        has_rollback = bool(self._before and self._rollback)
        return has_rollback and self.run.was_switched

    def _note_what_serves_before(self) -> None:
        """Write down what served before this deployment changed anything, once."""
        if self._before or self.run.was_switched:
            return
        seen = self._look()
        if seen and (key := self._orders.releases.get(seen.release)):
            self._before = seen.release
            self._put(self.run, release_before_id=key)
            self._writer.drain()  # before anything is switched

    def _look(self) -> Seen | None:
        """Note which release `current` is: seen on the server, not taken from what we meant to do.

        Where nobody can look, what was seen last stands, with its time.
        """
        if self._host is None or self.state is State.LOST:
            return None
        folder = shlex.quote(self._site.deploy_path)
        try:
            printed = self._host.look(f"cd {folder} && {{ {LOOK}\n}}").stdout
        except DeployManagerError:
            return None
        current, *whole = mask_text(printed).splitlines() or [""]
        # A server says what it likes: what is no mark of a release with a name is none.
        names = tuple(found[1] for line in whole if (found := MARK_OF_A_RELEASE.fullmatch(line)))
        now, release = timezone.now(), current.rpartition("/")[2]
        since = self._activated_at(release) or now
        seen = Seen(self._orders.placement, release, names, now, since)
        self._writer.put(seen)
        self._note_switch(seen)
        return seen

    def _activated_at(self, release: str) -> datetime | None:
        """When a step of ours made a release current; None: none did."""
        ended = [
            step.finished_at
            for step in self._steps
            if step.recipe == ACTIVATE
            and step.state == State.SUCCEEDED
            and release == (self._before if step.is_rollback else self._site.release)
        ]
        return max(filter(None, ended), default=None)

    def _note_switch(self, seen: Seen) -> None:
        is_ours = bool(self._site.release) and seen.release == self._site.release
        if is_ours and seen.release != self._before and not self.run.was_switched:
            self.run.was_switched = True
            self._put(self.run, was_switched=True)


def _left_as(step: Step, state: State) -> State:
    """Return how a step ends that its host, which ended so, did not come through."""
    if step.state == State.RUNNING and state in (State.LOST, State.FAILED):
        return state
    return State.CANCELLED if state is State.CANCELLED else State.SKIPPED
