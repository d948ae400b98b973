"""A deployment on one server: runs its steps in order and records how they really ended."""

import logging
import re
import shlex
import threading
import traceback
from contextlib import closing
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.orders import Orders
from deploy_manager.deployments.step_log import StepLog
from deploy_manager.deployments.writer import Change, HostEnd, Seen, Writer
from deploy_manager.exceptions import (
    Cancelled,
    ClaimLost,
    CommandFailed,
    ConnectionLost,
    DeployManagerError,
    HandedOver,
    HostUnreachable,
    RecipeError,
)
from deploy_manager.hosts.address import Stream
from deploy_manager.hosts.guarded import GuardedHost, ResumeCursor, open_guarded
from deploy_manager.hosts.looking import LookingHost, open_looking
from deploy_manager.hosts.opening import open_host
from deploy_manager.hosts.running import no_sink
from deploy_manager.isolation import explain
from deploy_manager.logs import log_error, mask_text
from deploy_manager.messages import Message
from deploy_manager.models import HostRun, State, Step
from deploy_manager.models.runs import ACTIVATE, VERIFIED, is_verified
from deploy_manager.recipes import get_recipe
from deploy_manager.recipes.provisioning import FIND_PYTHON, get_python

StepHost = GuardedHost | LookingHost

logger = logging.getLogger(__name__)

# `echo` keeps the first line there if `current` is not; `true` keeps the last test's exit code out.
LOOK = (
    "readlink current 2>/dev/null || echo;"
    " for whole in releases/*/.complete; do"
    ' [ -e "$whole" ] && [ -e "${whole%/*}/venv/.complete" ] && echo "$whole"; done; true'
)
"""Prints where `current` points, then the marker of each release that could be activated: complete
with its virtual environment, as `activate` demands it."""

# As models.validators has it: *.part is a release that is still being unpacked.
MARK_OF_A_RELEASE = re.compile(
    r"releases/(?![^/]*\.part/)([A-Za-z0-9][A-Za-z0-9._-]{0,99})/\.complete"
)


class HostWork:
    """Runs the steps of one host, keeps its connection, and reports every change to the writer.

    A step that an earlier worker left running is run again from its start: the guard on the server
    answers the commands that were done, and none is done twice.
    """

    def __init__(self, orders: Orders, writer: Writer) -> None:
        self.run = orders.run
        self.state = State(orders.run.state)
        self.is_left_to_others = False
        """Whether another worker continues it: then this one reports nothing more of its end."""

        self._orders = orders
        self._before = orders.before
        self._site = orders.site
        self._steps = list(orders.run.steps.all())
        self._rollback = [step for step in self._steps if step.is_rollback]
        self._was_begun = self.state is State.RUNNING
        """Whether another worker has worked on it, whose last rows may not have been written."""

        self._may_be_switched = any(
            step.recipe == ACTIVATE and step.has_begun and not step.is_rollback
            for step in self._steps
        )
        """Whether an earlier worker had begun to switch it, as the rows say."""

        self._writer = writer
        self._cancelled = writer.stop
        self._host: StepHost | None = None
        self._log = StepLog(writer)

    @property
    def is_live(self) -> bool:
        return self.state.is_live and not self.is_left_to_others

    @property
    def is_in_doubt(self) -> bool:
        """Whether a command of it may be running whose end was never written down."""
        return self.state.is_live and any(step.state == State.RUNNING for step in self._steps)

    def has_work_in(self, stage: int) -> bool:
        return self.is_live and any(self._to_run(stage))

    def run_stage(self, stage: int) -> None:
        """Run this host's steps of a stage, up to the first that fails; then look what it serves.

        This is the border of a host: an error around its steps ends this host and no other.
        """
        try:
            for step in self._to_run(stage):
                if self.is_live:
                    self._run_step(step)
            if not self.is_left_to_others:
                self._look()
            if self.is_live and any(step.stage == stage for step in self._rollback):
                self._end_host(State.ROLLED_BACK, self._rolled_back())
        except ClaimLost:
            self.is_left_to_others = True
        except Exception as error:
            log_error(logger, "%s stopped on an error", self.run)
            why = explain(error)
            # Unknown only if a command may still be running: without a connection none was sent.
            if isinstance(self._host, GuardedHost) and self.is_in_doubt:
                look = Message(_("%(why)s. Look at the server."), why=why)
                self.stop(State.LOST, look)
            else:
                self.stop(State.FAILED, Message("%(why)s.", why=why))

    def stop(self, state: State, message: Message) -> None:
        """End a host that is still live, with what is left of its steps.

        If all of them succeeded it has succeeded, whatever the reason for stopping is.
        """
        if state in (State.FAILED, State.CANCELLED) and is_verified(self._steps):
            message = Message.lines(message, VERIFIED)
        if self.is_live:
            own = (step for step in self._steps if not step.is_rollback)
            came_through = all(step.state == State.SUCCEEDED for step in own)
            self._end_host(*((State.SUCCEEDED, Message()) if came_through else (state, message)))

    def _end_host(self, state: State, message: Message) -> None:
        self.state = state
        self._writer.put(HostEnd(self.run, state, message, timezone.now()))

    def close(self) -> None:
        """Hang up. What another worker continues is left running."""
        if self._host is not None:
            self._host.close()

    def _to_run(self, stage: int) -> list[Step]:
        return [step for step in self._steps if step.stage == stage and State(step.state).is_live]

    def _run_step(self, step: Step) -> None:
        state, message = self._see_through(step)
        message = Message("%(step)s: %(why)s", step=Message(step.title), why=message)
        if state in (State.FAILED, State.CANCELLED):
            self._give_up(step, state, message)
        elif state is not State.SUCCEEDED:
            self.stop(state, message)
        elif step.recipe == ACTIVATE:
            # Once the host has ended, as it does if its check fails, it could not be written.
            self._look()

    def _see_through(self, step: Step) -> tuple[State, Message]:
        """Run a step and write how it ended; it stays *running* if another worker continues it."""
        if self.state is State.QUEUED:
            self.state = State.RUNNING
            self._put(self.run, state=State.RUNNING, started_at=timezone.now())
        # Until we are connected, it may be that a worker before us has left a command running.
        may_still_run = self._host is None and self._was_begun
        if step.state == State.QUEUED:
            step.state = State.RUNNING
            self._put(step, state=State.RUNNING, started_at=timezone.now())
        # Resumed, it prints what is stored already once more: that is skipped up to the cursor.
        self._log.begin(step, ResumeCursor(**step.resume_cursor))
        state, message, exit_code = self._outcome(step, may_still_run)
        if state is not State.SUCCEEDED and not self.is_left_to_others:
            state, message = self._end_what_runs_on(state, message)
        if not self.is_left_to_others:
            # Only then: half a line stored here could hide half a secret from the mask.
            self._log.end()
            step.state, step.finished_at = state, timezone.now()
            ended = {"finished_at": step.finished_at, "exit_code": exit_code}
            self._put(step, state=state, message=message, **ended)
        return state, message

    def _outcome(self, step: Step, may_still_run: bool) -> tuple[State, Message, int | None]:
        """Run a step's recipe. This is the border of a host: no error goes past it."""
        try:
            # In doubt we connect all the same: the host ends what still runs before it says so.
            if self._cancelled.is_set() and not may_still_run:
                raise Cancelled(_("Cancelled before it began."))
            if self._writer.leave.is_set():
                raise HandedOver
            host = self._open()
            recipe = get_recipe(step.recipe)
            host.begin_step(step.number, ResumeCursor(**step.resume_cursor), step.once)
            recipe.function(host, self._orders.site_for(step, self._before))
        except (HandedOver, ClaimLost):
            self.is_left_to_others = True
            return State.RUNNING, Message(), None
        except Cancelled as error:
            return State.CANCELLED, error.message, None
        except HostUnreachable as error:
            # If nothing was ever sent, the server is as it was before.
            is_unknown = isinstance(error, ConnectionLost) or may_still_run
            is_unknown = is_unknown and not self._orders.only_looks
            return State.LOST if is_unknown else State.FAILED, error.message, None
        except DeployManagerError as error:
            code = error.exit_code if isinstance(error, CommandFailed) else None
            return State.FAILED, error.message, code
        except (Exception, SystemExit) as error:
            # SystemExit is none of Exception, and code for the command line raises it.
            # It may hold a file name that is no text: its surrogates can't be encoded (PEP 383).
            self._log(Stream.OUR_OWN, traceback.format_exc().encode(errors="replace"))
            raised = Message(
                _("The recipe raised %(error)s"),
                "unexpected_error",
                error=f"{type(error).__name__}: {error}",
            )
            return State.FAILED, raised, None
        return State.SUCCEEDED, Message(), 0

    def _end_what_runs_on(self, state: State, message: Message) -> tuple[State, Message]:
        """End what the steps after this one would have waited for; return how this one ended."""
        if not isinstance(self._host, GuardedHost) or self._host.end_what_runs_on():
            return state, message
        return State.LOST, Message.lines(
            message, _("What it had begun on the server may still run: check the server.")
        )

    def _open(self) -> StepHost:
        """Connect once. Raises ClaimLost if another worker continues; see open_guarded."""
        if self._host is not None:
            return self._host
        for notice in self._orders.notices:
            self._log.note(f"{notice}\n".encode())
        # A server may be slow to answer: whoever watches sees at once what is waited for.
        self._log.note(f"Connecting to {self._orders.address.described}.\n".encode())
        if self._orders.only_looks:
            self._host = open_looking(
                self._orders.address, self._log, self._cancelled, self._writer.leave
            )
            return self._host
        if self._orders.is_bootstrap:
            self._get_python()
        try:
            self._host = open_guarded(
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
            # The server knows a higher token than the database gave out.
            raise DeployManagerError(
                _(
                    "%(name)s has seen a later deployment of this site than this one. Was the "
                    "database restored, or copied? If no other installation deploys there, "
                    "remove %(folder)s/fence.json on the server."
                ),
                "token_outdated",
                name=self._orders.address.name,
                folder=self._orders.work.folder,
            ) from None
        self._note_what_serves_before()
        # Before the first command: who takes over must know that some were sent here, and a
        # rollback what was served.
        self._writer.drain()
        return self._host

    def _get_python(self) -> None:
        """Install what the guard itself needs on a new server. Raises as open_host, RecipeError."""
        address = self._orders.address
        with closing(open_host(address, no_sink, self._cancelled)) as host:
            if host.run(FIND_PYTHON, check=False, quiet=True).ok:
                return
            self._log.note(b"Python is missing there: it is installed first.\n")
            got = get_python(host, self._orders.site)
        if not got.ok:
            raise RecipeError(
                _(
                    "Python could not be installed on %(name)s:\n%(said)s\nCorrect that, or"
                    " install python3 there, and provision it again."
                ),
                name=address.name,
                said=got.stderr.strip()[-2000:],
            )

    def _put(self, row: HostRun | Step, **values: Any) -> None:
        self._writer.put(Change(row, values))

    def _give_up(self, step: Step, state: State, message: Message) -> None:
        """End the host; first bring back what it served, if that is wanted or half done.

        A cancellation between the switch and the proof that it serves leaves nothing half done.
        After that proof it is taken back only for what would stop the other servers, too.
        """
        if is_verified(self._steps):
            is_decisive = state is State.FAILED and (step.gate or step.in_waves)
            wants_back = self._orders.rolls_back and is_decisive
        else:
            wants_back = self._orders.rolls_back or state is State.CANCELLED
        if wants_back and not step.is_rollback:
            self._look()
            # A retry finds its own release there: that is none to go back to.
            is_other = self._before not in ("", self._site.release)
            can_go_back = self.run.was_switched and is_other and self._rollback
            if can_go_back and self._roll_back():
                message = Message.lines(message, self._rolled_back())
                state = State.ROLLED_BACK if state is State.FAILED else state
        self.stop(state, message)

    def _rolled_back(self) -> Message:
        return Message(_("Rolled back to %(release)s."), "rolled_back", release=self._before)

    def _roll_back(self) -> bool:
        """Whether every step of the rollback succeeded; no cancellation stops it half-way."""
        if self._writer.stop.is_set():
            # The connection stops whatever it runs once its event is set: this one needs another.
            self.close()
            self._host = None
            self._cancelled = threading.Event()
        return all(self._see_through(step)[0] is State.SUCCEEDED for step in self._rollback)

    def _note_what_serves_before(self) -> None:
        """Write down, once, what was served before this deployment changed anything."""
        if self._before or self.run.was_switched:
            return
        seen = self._look()
        if self._may_be_switched and seen and seen.release == self._site.release:
            return  # the worker before had switched it, and had written what was served before
        if seen and (key := self._orders.releases.get(seen.release)):
            self._before = seen.release
            self._put(self.run, release_before_id=key)

    def _look(self) -> Seen | None:
        """Note which release `current` is: as seen on the server, not as it was meant to be.

        If nobody can look, what was seen last stands, with its time.
        """
        if self._host is None or self.state is State.LOST:
            return None
        if self._orders.is_bootstrap:
            return None  # to whom homes of other accounts may be closed
        folder = shlex.quote(self._site.deploy_path)
        try:
            # As one group: else only its first command would depend on the `cd`.
            printed = self._host.look(f"cd {folder} && {{ {LOOK}\n}}").stdout
        except DeployManagerError:
            return None
        # Nothing is printed by a server that does not have the folder yet.
        current, *whole = mask_text(printed).splitlines() or [""]
        # A server may print anything: a line that is not the marker of a release is left out.
        names = tuple(found[1] for line in whole if (found := MARK_OF_A_RELEASE.fullmatch(line)))
        now, release = timezone.now(), current.rpartition("/")[2]
        since = self._activated_at(release) or now
        seen = Seen(self._orders.placement, release, names, now, since)
        self._writer.put(seen)
        # Who only looks has not asked what was served before, and switches nothing.
        is_ours = bool(release) and release == self._site.release and not self._orders.only_looks
        if is_ours and release != self._before and not self.run.was_switched:
            self.run.was_switched = True
            self._put(self.run, was_switched=True)
        return seen

    def _activated_at(self, release: str) -> datetime | None:
        """When a step of this deployment made a release current; None: none did."""
        ended = [
            step.finished_at
            for step in self._steps
            if step.recipe == ACTIVATE
            and step.state == State.SUCCEEDED
            and release == (self._before if step.is_rollback else self._site.release)
        ]
        return max(filter(None, ended), default=None)
