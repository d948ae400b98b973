"""Problems: the reasons why `reconcile` fails on a row, until it works again."""

from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.messages import Message
from deploy_manager.models.environments import Environment
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField

LONGEST_TEXT = 2000
"""Characters of a message that are kept."""


class ProblemQuerySet(models.QuerySet["Problem"]):
    def about(self, row: models.Model) -> "ProblemQuerySet":
        """The problems of a row; for an environment, also of the rows that belong to it."""
        if isinstance(row, Environment):
            return self.filter(environment=row)
        return self.filter(kind=row._meta.model_name, key=row.pk)

    def note(
        self, text: Message, *, job: str, kind: str, key: int, **details: Any
    ) -> tuple[int, bool]:
        """Write what went wrong; return the row's key, and whether it is news.

        The same text again changes nothing, so that `since` stays the time when it began.
        """
        known = self.filter(job=job, kind=kind, key=key, text=text).values_list("pk", flat=True)
        if (pk := known.first()) is not None:
            return pk, False
        changes = {**details, "text": text, "since": timezone.now()}
        row, _is_new = self.update_or_create(job=job, kind=kind, key=key, defaults=changes)
        return row.pk, True


class Problem(models.Model):
    """A job of `reconcile`, a row on which it fails, and why."""

    job = models.CharField(_("job"), max_length=50)
    kind = models.CharField(
        _("kind"), max_length=50, blank=True, help_text=_("The row's table. Blank: the whole job.")
    )
    # 0 if the whole job fails: null would not do, as the constraint below takes no two nulls for
    # the same.
    key = models.PositiveBigIntegerField(_("key"), default=0)
    name = models.CharField(_("of"), max_length=300, blank=True)
    environment = models.ForeignKey(
        Environment,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="problems",
        verbose_name=_("environment"),
        help_text=_("The environment that it concerns, if any."),
    )
    text = MessageField(_("problem"), longest=LONGEST_TEXT)
    since = MomentField(_("since"), default=timezone.now)

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
        return f"{self.name}: {self.text}" if self.name else str(self.text)
