"""What keeps `reconcile` from doing its work on a row: written once, gone when it works again."""

from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.logs import mask_text
from deploy_manager.models.environments import Environment

LONGEST_TEXT = 2000
"""Characters of what went wrong that are kept."""


class ProblemQuerySet(models.QuerySet["Problem"]):
    def about(self, row: models.Model) -> "ProblemQuerySet":
        """What is wrong with this row; for an environment, also with what belongs to it."""
        if isinstance(row, Environment):
            return self.filter(environment=row)
        return self.filter(kind=row._meta.model_name, key=row.pk)

    def note(self, text: str, *, job: str, kind: str, key: int, **details: Any) -> tuple[int, bool]:
        """Write what went wrong; return the row's key, and whether that was not known before.

        The same words again change nothing, so that `since` tells when it began.
        """
        text = mask_text(text)[:LONGEST_TEXT]
        known = self.filter(job=job, kind=kind, key=key, text=text).values_list("pk", flat=True)
        if (pk := known.first()) is not None:
            return pk, False
        changes = {**details, "text": text, "since": timezone.now()}
        row, _is_new = self.update_or_create(job=job, kind=kind, key=key, defaults=changes)
        return row.pk, True


class Problem(models.Model):
    """One job of the reconcile loop, one row on which it fails, and why."""

    job = models.CharField(_("job"), max_length=50)
    kind = models.CharField(
        _("kind"), max_length=50, blank=True, help_text=_("Of which table; blank: the whole job.")
    )
    key = models.PositiveBigIntegerField(_("key"), default=0)
    name = models.CharField(_("of"), max_length=300, blank=True)
    environment = models.ForeignKey(
        Environment,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="problems",
        verbose_name=_("environment"),
        help_text=_("On whose page it is told."),
    )
    text = models.TextField(_("what is wrong"))
    since = models.DateTimeField(_("since"), default=timezone.now)

    objects = ProblemQuerySet.as_manager()

    class Meta:
        ordering = ["since", "pk"]
        verbose_name = _("problem")
        verbose_name_plural = _("problems")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["job", "kind", "key"], name="one_problem_per_job_and_row"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.name else self.text
