"""Questions of pages to the resolver, which a worker answers and never a web process.

As with shards, each transition is a conditional UPDATE that says whether it won, and a worker that
lost its claim can write nothing more, since the row has another fencing token.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.messages import Message
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField

LEASE = timedelta(seconds=15)
"""A worker without a heartbeat for so long counts as dead."""

TAKEN_UP_AT_MOST = 3
"""Times: a question that kills every worker that takes it up must not kill them all."""


class ResolutionQuerySet(models.QuerySet["Resolution"]):
    def silent(self) -> "ResolutionQuerySet":
        """Questions whose worker sent no heartbeat for long, by the database's own clock."""
        return self.filter(state=Resolution.State.RUNNING, beat_at__lt=Now() - LEASE)

    def to_claim(self) -> "ResolutionQuerySet":
        """Questions that can be claimed now: those without a worker, or with a silent one."""
        silent = Q(state=Resolution.State.RUNNING, beat_at__lt=Now() - LEASE)
        return self.filter(Q(state=Resolution.State.QUEUED) | silent, token__lt=TAKEN_UP_AT_MOST)

    def live(self) -> "ResolutionQuerySet":
        return self.filter(state__in=[Resolution.State.QUEUED, Resolution.State.RUNNING])

    def mark_woken(self, pk: int, again_after: timedelta) -> bool:
        """Note that a worker is woken for it; False if one was, not so long ago."""
        due = Q(woken_at=None) | Q(woken_at__lt=Now() - again_after)
        return bool(self.filter(due, pk=pk).update(woken_at=Now()))

    def claim(self, pk: int) -> "Resolution | None":
        """Take a question that is free; None if another worker has it."""
        tokens = self.to_claim().filter(pk=pk).values_list("token", flat=True)
        token = tokens.first()
        # With the token that was read, by which of two workers at the same moment one wins.
        won = token is not None and self.to_claim().filter(pk=pk, token=token).update(
            state=Resolution.State.RUNNING,
            token=F("token") + 1,
            beat_at=Now(),
            started_at=Now(),
            message="",
        )
        return self.select_related("requested_by").get(pk=pk) if won else None


class Resolution(models.Model):
    """A question which pins fit, as someone asked it on a page, and the answer of a worker."""

    class Kind(models.TextChoices):
        PINS = "pins", _("pins to import")
        UPGRADE = "upgrade", _("an upgrade")

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        FAILED = "failed", _("failed")

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    environments = models.JSONField(_("environments"), default=list)
    """Primary keys, in order."""

    asked = models.JSONField(_("asked"), default=dict)
    # Null until it is answered, and for good if that fails.
    answer = models.JSONField(_("answer"), null=True)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    message = MessageField(_("message"))
    # Not kept without its account: the answer is shown to that person only.
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("requested by")
    )
    language = models.CharField(_("language"), max_length=20, blank=True)
    """Of the person who asked: the answer contains text."""

    created_at = MomentField(_("requested"), default=timezone.now, db_index=True)
    started_at = MomentField(_("started"), null=True)
    finished_at = MomentField(_("finished"), null=True)
    token = models.PositiveSmallIntegerField(_("fencing token"), default=0)
    """Also how often a worker took it up."""

    beat_at = MomentField(_("last heartbeat"), null=True)
    woken_at = MomentField(_("last woken"), null=True)

    objects = ResolutionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("question to the resolver")
        verbose_name_plural = _("questions to the resolver")
        default_permissions = ()
        constraints = [
            # Without a heartbeat it would never count as silent, and stay claimed for ever.
            models.CheckConstraint(
                condition=~Q(state="running") | (Q(token__gt=0) & ~Q(beat_at=None)),
                name="a_running_resolution_has_a_token_and_beats",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running", "succeeded", "failed"]),
                name="a_resolution_has_a_known_state",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.get_kind_display()}"

    @property
    def is_live(self) -> bool:
        return self.state in (self.State.QUEUED, self.State.RUNNING)

    def beat(self) -> bool:
        """Send a heartbeat; False if it is no longer ours."""
        return bool(self._held().update(beat_at=Now()))

    def succeed(self, answer: dict[str, Any]) -> bool:
        """Write the answer; False if it is no longer ours."""
        values = {"answer": answer, "state": self.State.SUCCEEDED, "finished_at": Now()}
        return bool(self._held().update(**values))

    def fail(self, message: Message | str) -> bool:
        """Write why there is no answer; False if it is no longer ours."""
        values = {"message": message, "state": self.State.FAILED, "finished_at": Now()}
        return bool(self._held().update(**values))

    def _held(self) -> ResolutionQuerySet:
        return Resolution.objects.filter(pk=self.pk, state=self.State.RUNNING, token=self.token)
