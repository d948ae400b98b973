"""Host runs, steps and log chunks: a deployment server by server, and its output."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.messages import Message
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.placements import Placement
from deploy_manager.models.states import BUSY, State, ends_with_a_time

ACTIVATE = "activate"
"""The recipe that switches a server to another release."""

VERIFY = "verify"
"""The recipe, and the phase, that proves that a server serves."""

ROLLBACK_PHASE = "roll_back"
"""The phase of the steps that bring a server back to the release it served before."""

SERVER_REMOVED = "server_removed"
"""The reason of a host whose server left the environment."""

NO_ROLE = "no_role"
"""The reason of a host whose server has no role any more for what was requested."""

HALF_DONE = Message(
    _("It serves the new release, but the steps after the switch were not run."), "steps_left"
)
GOING_BACK = Message(
    _("It was stopped in its rollback: check which release it serves."), "steps_left"
)
VERIFIED = Message(_("It was verified, and serves the new release."))
STOPPED = Message(_("It was stopped between two steps."), "steps_left")


class HostRun(models.Model):
    """A deployment on one server."""

    deployment = models.ForeignKey(
        "Deployment", models.CASCADE, related_name="host_runs", verbose_name=_("deployment")
    )
    # Null once the server has left the environment: its name, and what happened, stay.
    placement = models.ForeignKey(
        Placement,
        models.SET_NULL,
        null=True,
        related_name="host_runs",
        verbose_name=_("placement"),
    )
    shard = models.ForeignKey(
        "Shard", models.CASCADE, related_name="host_runs", verbose_name=_("shard"), editable=False
    )
    server_name = models.CharField(_("server"), max_length=100)
    wave = models.PositiveSmallIntegerField(_("wave"), default=1)
    # Null if it served none, if that is not known yet, or once that release is deleted.
    release_before = models.ForeignKey(
        "Release",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("release before"),
    )
    # What a person was shown: one that waits must not take back what others deployed meanwhile.
    release_when_requested = models.ForeignKey(
        "Release",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("release when requested"),
        editable=False,
    )
    probed_at = MomentField(
        _("probed"), null=True, editable=False, help_text=_("When its journal was last read.")
    )
    was_switched = models.BooleanField(
        _("switched"),
        default=False,
        help_text=_("Whether this deployment switched it to another release."),
    )
    state = models.CharField(_("state"), max_length=15, choices=State.choices, default=State.QUEUED)
    message = MessageField(_("message"))
    started_at = MomentField(_("started"), null=True)
    finished_at = MomentField(_("finished"), null=True)
    sequence = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["deployment", "pk"]
        verbose_name = _("host run")
        verbose_name_plural = _("host runs")
        default_permissions = ()
        constraints = [
            # Hosts whose server has left are null here, and nulls are never equal.
            models.UniqueConstraint(
                fields=["deployment", "placement"], name="a_host_runs_once_per_deployment"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["waiting", "partly_failed"]) & Q(state__in=State.values),
                name="a_host_run_has_a_known_state",
            ),
            ends_with_a_time("a_host_run_ends_with_a_time"),
        ]

    def __str__(self) -> str:
        return f"{self.server_name} of {self.deployment_id}"

    @property
    def came_through(self) -> bool:
        """Whether all of its steps succeeded; those of a rollback are for the other case."""
        return all(
            step.state == State.SUCCEEDED for step in self.steps.all() if not step.is_rollback
        )

    @property
    def is_left_out(self) -> bool:
        """Whether the deployment goes on without it: its server or its roles changed before."""
        return self.state == State.CANCELLED and self.message.code in (SERVER_REMOVED, NO_ROLE)

    def end_of(self, queued_as: State, why: Message) -> tuple[State, Message]:
        """Return the state and the message of a live host whose deployment has just ended.

        In the middle of a step, its state is unknown. Between two steps it has succeeded if none
        was left, and failed otherwise. One that never began, or was only prepared and still serves
        what it served before, ends as `queued_as`.
        """
        steps = list(self.steps.all())
        forward = {step.state for step in steps if step.phase != ROLLBACK_PHASE}
        rollback = {step.state for step in steps if step.phase == ROLLBACK_PHASE}
        if State.RUNNING in forward | rollback:
            return State.LOST, why
        if forward == {State.SUCCEEDED}:
            return State.SUCCEEDED, Message()
        untouched = {State.QUEUED, State.SKIPPED}
        is_switch_to_come = any(
            step.recipe == ACTIVATE and step.phase != ROLLBACK_PHASE and step.state in untouched
            for step in steps
        )
        if queued_as is State.CANCELLED and is_verified(steps):
            return queued_as, Message.lines(why, VERIFIED)
        if queued_as is State.CANCELLED or is_switch_to_come or forward | rollback <= untouched:
            return queued_as, why
        if rollback - untouched:
            return State.FAILED, Message.lines(why, GOING_BACK)
        return State.FAILED, Message.lines(why, HALF_DONE if self.was_switched else STOPPED)


class Step(models.Model):
    """One recipe of a deployment on one server."""

    host_run = models.ForeignKey(
        HostRun, models.CASCADE, related_name="steps", verbose_name=_("host run")
    )
    number = models.PositiveSmallIntegerField(_("number"))
    phase = models.CharField(_("phase"), max_length=50)
    phase_title = models.CharField(_("title of the phase"), max_length=100, blank=True)
    gate = models.BooleanField(
        _("gate"),
        default=True,
        help_text=_("Whether too many failures in its phase stop the deployment."),
    )
    in_waves = models.BooleanField(
        _("in waves"), default=False, help_text=_("Whether its phase runs wave by wave.")
    )
    once = models.BooleanField(
        _("once"),
        default=False,
        help_text=_("Whether one server runs it for all of them, or for all of a role."),
    )
    recipe = models.CharField(_("recipe"), max_length=50)
    title = models.CharField(_("title"), max_length=100)
    state = models.CharField(_("state"), max_length=15, choices=State.choices, default=State.QUEUED)
    message = MessageField(_("message"))
    # Null: no command of it has ended, or it ran none.
    exit_code = models.IntegerField(_("exit code"), null=True)
    stage = models.PositiveSmallIntegerField(_("stage"), default=1)
    resume_cursor = models.JSONField(
        default=dict, editable=False, help_text=_("How far its output is stored.")
    )
    started_at = MomentField(_("started"), null=True)
    finished_at = MomentField(_("finished"), null=True)
    sequence = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["host_run", "number"]
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["host_run", "number"], name="a_step_has_its_own_number"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["waiting", "partly_failed", "rolled_back"])
                & Q(state__in=State.values),
                name="a_step_has_a_known_state",
            ),
            ends_with_a_time("a_step_ends_with_a_time"),
        ]

    def __str__(self) -> str:
        return f"{self.number}. {self.title}"

    @property
    def is_rollback(self) -> bool:
        """Whether it belongs to the rollback, which only runs if something fails."""
        return self.phase == ROLLBACK_PHASE

    @property
    def has_begun(self) -> bool:
        # Cancelled and skipped ones may have begun or not.
        begun = (State.RUNNING, State.SUCCEEDED, State.FAILED, State.LOST)
        return self.state in begun or self.started_at is not None

    @property
    def is_proof(self) -> bool:
        """Whether it has to succeed before its server is known to serve the release."""
        return not self.is_rollback and (self.in_waves or VERIFY in (self.phase, self.recipe))

    @property
    def phase_name(self) -> str:
        """The title of its phase, or the phase's name if it has none."""
        return self.phase_title or self.phase


def is_verified(steps: Iterable[Step]) -> bool:
    """Whether a host's steps switched it and proved that it serves, and none took that back."""
    steps = list(steps)
    goes_back = any(step.is_rollback and step.has_begun for step in steps)
    was_activated = any(
        step.recipe == ACTIVATE and step.state == State.SUCCEEDED and not step.is_rollback
        for step in steps
    )
    proofs = (step for step in steps if step.is_proof)
    is_proven = all(step.state == State.SUCCEEDED for step in proofs)
    return was_activated and is_proven and not goes_back


def write_steps(planned: Mapping[HostRun, Sequence[Mapping[str, Any]]], sequence: int = 0) -> None:
    """Write the steps of hosts that have none, from their fields in order."""
    Step.objects.bulk_create(
        Step(host_run=run, number=number, sequence=sequence, **fields)
        for run, steps in planned.items()
        for number, fields in enumerate(steps, 1)
    )


def end_hosts(
    hosts: Collection[HostRun],
    state: State,
    message: Message | str,
    *,
    finished_at: datetime | Now | None,
    sequence: int,
    left_as: State | None = None,
    why: Message | None = None,
) -> None:
    """End live hosts of one deployment with what is left of their steps: the only way they end.

    A step that runs is as lost or failed as its host. The others end as `left_as` (by default
    cancelled with a cancelled host, else skipped), and all of them with the message `why` (by
    default that of the host).
    To be called with the deployment's row locked.
    """
    keys = [host.pk for host in hosts]
    ended = {"finished_at": finished_at, "sequence": sequence}
    of_step = {"message": message if why is None else why, **ended}
    steps = Step.objects.filter(host_run__in=keys, state__in=BUSY)
    if state in (State.LOST, State.FAILED):
        # First: the next UPDATE ends whatever is still live.
        steps.filter(state=State.RUNNING).update(state=state, **of_step)
    usual = State.CANCELLED if state is State.CANCELLED else State.SKIPPED
    steps.update(state=left_as or usual, **of_step)
    live = HostRun.objects.filter(pk__in=keys, state__in=BUSY)
    live.update(state=state, message=message, **ended)


class LogChunk(models.Model):
    """Whole lines of a step's output, at most 64 KiB."""

    class Stream(models.IntegerChoices):
        OUR_OWN = 0, _("deploy_manager")
        STDOUT = 1, "stdout"
        STDERR = 2, "stderr"

    # Repeated from the step: a page reads the log of a whole deployment in order, without joins.
    deployment = models.ForeignKey(
        "Deployment", models.CASCADE, related_name="log_chunks", verbose_name=_("deployment")
    )
    host_run = models.ForeignKey(
        HostRun, models.CASCADE, related_name="log_chunks", verbose_name=_("host run")
    )
    step = models.ForeignKey(
        Step, models.CASCADE, related_name="log_chunks", verbose_name=_("step")
    )
    sequence = models.PositiveBigIntegerField(_("sequence"))
    stream = models.PositiveSmallIntegerField(_("stream"), choices=Stream.choices)
    # Bytes, since a program may print anything, also bytes that are not text in any encoding.
    data = models.BinaryField(_("data"))
    created_at = MomentField(_("written"), default=timezone.now)

    class Meta:
        ordering = ["deployment", "sequence"]
        verbose_name = _("log chunk")
        verbose_name_plural = _("log chunks")
        default_permissions = ()
        constraints = [
            # Also the index that "everything after this number" is read by.
            models.UniqueConstraint(
                fields=["deployment", "sequence"], name="log_chunks_stand_in_one_order"
            ),
            # Its numbers, since a class inside of another does not see the others there.
            models.CheckConstraint(
                condition=Q(stream__in=[0, 1, 2]), name="a_log_chunk_has_a_known_stream"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} of {self.deployment_id}"
