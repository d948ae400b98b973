"""Freezes of environments, those that are over included."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.messages import Message
from deploy_manager.models.moments import MomentField

ENDED = ("ended_at", "ended_by_name")
"""The columns that say how a freeze was ended."""


class FreezeQuerySet(models.QuerySet["Freeze"]):
    def open(self) -> "FreezeQuerySet":
        """Freezes that have not been ended: those whose time has passed are among them."""
        return self.filter(ended_at=None)

    def active(self, now: datetime | None = None) -> "FreezeQuerySet":
        """Freezes that hold at this moment."""
        return self.open().filter(Q(until=None) | Q(until__gt=now or timezone.now()))

    def end(self, by: str) -> bool:
        """End the active ones; False if there was none.

        Those that have expired are closed on the way, so that they don't stand in the way of the
        next freeze: they ended when their time came, by no one's hand.
        """
        now = timezone.now()
        self.open().filter(until__lte=now).update(ended_at=F("until"))
        return bool(self.active(now).update(ended_at=Now(), ended_by_name=by[:200]))


class Freeze(models.Model):
    """A time in which no release may change on an environment: who wanted that, and why.

    A freeze is over once it is ended or its time has passed; nothing has to run for the latter.
    """

    environment = models.ForeignKey(
        "Environment", models.CASCADE, related_name="freezes", verbose_name=_("environment")
    )
    reason = models.CharField(_("reason"), max_length=500)
    # Null for the command line, and once the account is deleted: the name stays.
    frozen_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("frozen by"),
    )
    frozen_by_name = models.CharField(
        _("frozen as"),
        max_length=200,
        help_text=_("The user's name, or user@host of the command line."),
    )
    created_at = MomentField(_("since"), default=timezone.now)
    until = MomentField(
        _("until"), null=True, blank=True, help_text=_("Blank: until it is thawed.")
    )
    ended_at = MomentField(_("ended"), null=True, blank=True)
    ended_by_name = models.CharField(
        _("ended by"), max_length=200, blank=True, help_text=_("Blank: its time had passed.")
    )

    objects = FreezeQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("freeze")
        verbose_name_plural = _("freezes")
        # No page of its own: it is read and changed on the environment's, with that one's rights.
        default_permissions = ()
        constraints = [
            # Two people who freeze at the same moment: the second insert fails. An index can't
            # compare with the present time, so expired freezes count until they are closed.
            models.UniqueConstraint(
                fields=["environment"],
                condition=Q(ended_at=None),
                name="one_open_freeze_per_environment",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment}: {self.reason}"

    def is_active(self, now: datetime | None = None) -> bool:
        """As `Freeze.objects.active()`, for a row that was read before."""
        return self.ended_at is None and (
            self.until is None or self.until > (now or timezone.now())
        )

    def describe(self) -> Message:
        """Return who froze it, until when and why: the answer to everyone who wants a change."""
        until = Message(_("until it is thawed"))
        if self.until:
            time = f"{self.until.astimezone(self.environment.zone):%Y-%m-%d %H:%M %Z}"
            until = Message(_("until %(time)s"), time=time)
        return Message(
            _("%(site)s is frozen by %(who)s %(until)s: %(reason)s"),
            site=self.environment,
            who=self.frozen_by_name,
            until=until,
            reason=self.reason,
        )
