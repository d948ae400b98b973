"""Approvals: what people decided about deployments that wait for them."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.deployments import Deployment
from deploy_manager.models.moments import MomentField


class Approval(models.Model):
    """One decision about one deployment, and what exactly was decided about."""

    class Decision(models.TextChoices):
        APPROVED = "approved", _("approved")
        DENIED = "denied", _("denied")
        GLASS = "glass", _("let it run without approval (break-glass)")

    deployment = models.ForeignKey(
        Deployment, models.CASCADE, related_name="approvals", verbose_name=_("deployment")
    )
    # Null for break-glass on a command line, and once the account is deleted: the name stays, and
    # the approval does not count any more.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("user"),
    )
    user_name = models.CharField(_("by"), max_length=200)
    decision = models.CharField(_("decision"), max_length=10, choices=Decision.choices)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    at = MomentField(_("at"), default=timezone.now)
    digest = models.CharField(
        _("digest"), max_length=64, help_text=_("Of all that was to run; it counts for that only.")
    )

    class Meta:
        ordering = ["at", "pk"]
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        default_permissions = ()
        constraints = [
            # Of two decisions of one person at the same moment the second insert fails.
            models.UniqueConstraint(
                fields=["deployment", "user", "digest", "decision"],
                name="one_approval_per_person_and_plan",
            ),
            models.CheckConstraint(
                condition=models.Q(decision__in=["approved", "denied", "glass"]),
                name="an_approval_has_a_known_decision",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.deployment}: {self.user_name} {self.decision}"
