"""Confirmed plans: everything that decides what runs, as it was when a person confirmed it."""

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.moments import MomentField


class ConfirmedPlanQuerySet(models.QuerySet["ConfirmedPlan"]):
    def of(self, digest: str, parts: list[dict[str, Any]]) -> "ConfirmedPlan":
        """Return the plan of this digest; write it the first time."""
        return self.get_or_create(digest=digest, defaults={"parts": parts})[0]

    def unused(self, before: Any) -> "ConfirmedPlanQuerySet":
        """Plans from before a time that no row keeps: they were only shown."""
        kept = ("deployments", "schedules", "policy_turns", "upgrade_stages")
        return self.filter(created_at__lt=before, **dict.fromkeys(kept))


class ConfirmedPlan(models.Model):
    """The rows that decide what runs, field by field: never changed, named by its hash.

    No secret value is in it; see deployments.decided.
    """

    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    parts = models.JSONField(_("parts"), editable=False)
    created_at = MomentField(_("created"), auto_now_add=True)

    objects = ConfirmedPlanQuerySet.as_manager()

    class Meta:
        verbose_name = _("confirmed plan")
        verbose_name_plural = _("confirmed plans")
        default_permissions = ()

    def __str__(self) -> str:
        return self.digest[:12]
