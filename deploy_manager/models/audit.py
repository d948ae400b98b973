"""The audit: who changed or did what, from where, with before and after. Rows are only added."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.moments import MomentField


class AppendOnlyError(TypeError):
    """Somebody tried to change or delete rows of the audit."""


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    """Rows of the audit, which can be read and added, and removed only when they are past their
    retention."""

    def update(self, **values: Any) -> NoReturn:
        raise AppendOnlyError("Rows of the audit are never changed.")

    def bulk_update(self, *args: Any, **options: Any) -> NoReturn:
        raise AppendOnlyError("Rows of the audit are never changed.")

    def delete(self) -> NoReturn:
        raise AppendOnlyError("Rows of the audit are removed by their retention only.")

    # As Django's own have it, which these hide: templates must not call them.
    update.alters_data = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]

    def remove_before(self, moment: datetime) -> int:
        """Remove what is older; return how many rows. For the retention."""
        return self.filter(at__lt=moment)._raw_delete(self.db)

    def in_order(self) -> Iterator["AuditEvent"]:
        """Yield the rows, the oldest first, without holding all of them."""
        return self.order_by("pk").iterator(chunk_size=500)


class AuditEvent(models.Model):
    """One thing that somebody or something did."""

    at = MomentField(_("when"), default=timezone.now, db_index=True)
    # No related objects: what is deleted later stays in the audit as it was named.
    who = models.CharField(_("who"), max_length=200)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("user"),
    )
    source = models.CharField(_("source"), max_length=100)
    address = models.CharField(_("from"), max_length=100, blank=True)
    action = models.CharField(_("action"), max_length=50)
    kind = models.CharField(_("table"), max_length=50)
    key = models.CharField(_("key"), max_length=50, blank=True)
    name = models.CharField(_("what"), max_length=300)
    environment_key = models.BigIntegerField(_("environment"), null=True, db_index=True)
    before = models.JSONField(_("before"), default=dict)
    after = models.JSONField(_("after"), default=dict)
    # A number and no foreign key: the deployment may be removed first.
    deployment_number = models.BigIntegerField(_("deployment"), null=True, db_index=True)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        default_permissions = ("view",)
        indexes = [models.Index(fields=["kind", "key"], name="audit_of_a_row")]

    def __str__(self) -> str:
        return f"{self.who} {self.action} {self.name}"

    def save(self, *args: Any, **options: Any) -> None:
        """Raises AppendOnlyError unless it is new."""
        if not self._state.adding:
            raise AppendOnlyError("Rows of the audit are never changed.")
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> NoReturn:
        raise AppendOnlyError("Rows of the audit are removed by their retention only.")

    @property
    def as_data(self) -> dict[str, Any]:
        """The event as an export has it."""
        return {
            "number": self.pk,
            "at": self.at.isoformat(),
            "who": self.who,
            "source": self.source,
            "address": self.address,
            "action": self.action,
            "kind": self.kind,
            "key": self.key,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "deployment": self.deployment_number,
        }
