"""Commit statuses: what a CI says of a commit, which environments may demand."""

from datetime import datetime
from typing import Any

from django.db import IntegrityError, models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.inventory import Project
from deploy_manager.models.moments import MomentField
from deploy_manager.models.transactions import brief_transaction


class CommitStatusQuerySet(models.QuerySet["CommitStatus"]):
    def report(
        self,
        project: Project,
        commit: str,
        context: str,
        state: str,
        *,
        at: datetime | None = None,
        **fields: Any,
    ) -> bool:
        """Write what a check says of a commit; False if a later word of it is known already.

        `at` is when it was said: words may arrive in another order.
        """
        at = at or timezone.now()
        changes = {"state": state, "at": at, **fields}
        mine = self.filter(project=project, commit=commit, context=context)
        if mine.filter(at__lte=at).update(**changes):
            return True
        try:
            with brief_transaction():
                self.create(project=project, commit=commit, context=context, **changes)
        except IntegrityError:  # a later one was there, or came this moment
            return bool(mine.filter(at__lte=at).update(**changes))
        return True


class CommitStatus(models.Model):
    """The last word of one check of a CI about one commit of a project."""

    class Outcome(models.TextChoices):
        PENDING = "pending", _("pending")
        SUCCESS = "success", _("success")
        FAILURE = "failure", _("failure")

    project = models.ForeignKey(
        Project, models.CASCADE, related_name="commit_statuses", verbose_name=_("project")
    )
    commit = models.CharField(_("commit"), max_length=64, validators=[validators.commit_validator])
    context = models.CharField(
        _("check"), max_length=200, help_text=_("What the CI calls it, like tests.")
    )
    state = models.CharField(_("state"), max_length=10, choices=Outcome.choices)
    description = models.CharField(_("description"), max_length=300, blank=True)
    url = models.URLField(_("address"), max_length=500, blank=True)
    at = MomentField(_("at"), default=timezone.now)
    reported_by_name = models.CharField(_("reported by"), max_length=200, blank=True)

    objects = CommitStatusQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        verbose_name = _("commit status")
        verbose_name_plural = _("commit statuses")
        default_permissions = ("add", "view")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "commit", "context"], name="one_status_per_commit_and_check"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["pending", "success", "failure"]),
                name="a_commit_status_has_a_known_state",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.commit[:8]} {self.context}: {self.state}"
