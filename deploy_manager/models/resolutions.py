"""Questions to the resolver that a page asked: a worker answers them, no web process does.

As with shards each transition is a conditional UPDATE that says whether it won, and who lost the
claim can write nothing more: its token is another one.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.logs import mask_text

LEASE = timedelta(seconds=15)
"""A worker that did not beat for so long has died."""

TAKEN_UP_AT_MOST = 3
"""A question that ends every worker which takes it up must not end them all."""


class ResolutionQuerySet(models.QuerySet["Resolution"]):
    def silent(self) -> "ResolutionQuerySet":
        """Whose worker did not beat for long, by the database's own clock."""
        return self.filter(state=Resolution.State.RUNNING, beat_at__lt=Now() - LEASE)

    def to_claim(self) -> "ResolutionQuerySet":
        """What somebody may claim now: nobody has it, or a silent worker does."""
        silent = Q(state=Resolution.State.RUNNING, beat_at__lt=Now() - LEASE)
        return self.filter(Q(state=Resolution.State.QUEUED) | silent, token__lt=TAKEN_UP_AT_MOST)

    def live(self) -> "ResolutionQuerySet":
        return self.filter(state__in=[Resolution.State.QUEUED, Resolution.State.RUNNING])

    def mark_told(self, pk: int, again_after: timedelta) -> bool:
        """Note that a worker is told of it; False where one was, not so long ago."""
        due = Q(told_at=None) | Q(told_at__lt=Now() - again_after)
        return bool(self.filter(due, pk=pk).update(told_at=Now()))

    def claim(self, pk: int) -> "Resolution | None":
        """Take a question that is free; None for whoever came second."""
        tokens = self.to_claim().filter(pk=pk).values_list("token", flat=True)
        token = tokens.first()
        won = token is not None and self.to_claim().filter(pk=pk, token=token).update(
            state=Resolution.State.RUNNING,
            token=F("token") + 1,
            beat_at=Now(),
            started_at=Now(),
            message="",
        )
        return self.select_related("requested_by").get(pk=pk) if won else None


class Resolution(models.Model):
    """Which pins fit what somebody asks for: the question, and what a worker answered."""

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
    """Ids, in their turn."""

    asked = models.JSONField(_("asked"), default=dict)
    answer = models.JSONField(_("answer"), null=True)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    message = models.TextField(_("message"), blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("requested by")
    )
    language = models.CharField(_("language"), max_length=20, blank=True)
    """Of who asked: the answer has words."""

    created_at = models.DateTimeField(_("requested"), default=timezone.now, db_index=True)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    token = models.PositiveSmallIntegerField(_("fencing token"), default=0)
    """How often a worker took it up."""

    beat_at = models.DateTimeField(_("last heartbeat"), null=True)
    told_at = models.DateTimeField(_("a worker was told"), null=True)

    objects = ResolutionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("question to the resolver")
        verbose_name_plural = _("questions to the resolver")
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="running") | (Q(token__gt=0) & ~Q(beat_at=None)),
                name="a_running_resolution_has_a_token_and_beats",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.get_kind_display()}"

    @property
    def is_live(self) -> bool:
        return self.state in (self.State.QUEUED, self.State.RUNNING)

    def beat(self) -> bool:
        """Say that it is still worked on; False where somebody else has it now."""
        return bool(self._held().update(beat_at=Now()))

    def succeed(self, answer: dict[str, Any]) -> bool:
        """Write the answer; False where somebody else has it now."""
        values = {"answer": answer, "state": self.State.SUCCEEDED, "finished_at": Now()}
        return bool(self._held().update(**values))

    def fail(self, message: str) -> bool:
        """Write why there is no answer; False where somebody else has it now."""
        values = {"message": mask_text(message), "state": self.State.FAILED, "finished_at": Now()}
        return bool(self._held().update(**values))

    def _held(self) -> ResolutionQuerySet:
        return Resolution.objects.filter(pk=self.pk, state=self.State.RUNNING, token=self.token)
