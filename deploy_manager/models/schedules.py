"""Deployments that nobody has to ask for, and who is told how they ended."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.environments import Environment


def default_states() -> list[str]:
    return ["failed", "partly_failed", "lost", "rolled_back"]


class Schedule(models.Model):
    """A recipe that is run at the times of a cron expression, once for each of them."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="schedules", verbose_name=_("environment")
    )
    recipe = models.CharField(_("recipe"), max_length=50, default="deploy")
    cron = models.CharField(
        _("cron expression"),
        max_length=100,
        validators=[validators.validate_cron],
        help_text=_("Minute, hour, day, month, weekday: 30 2 * * mon-fri."),
    )
    time_zone = models.CharField(
        _("time zone"), max_length=50, default="UTC", validators=[validators.validate_time_zone]
    )
    deadline = models.PositiveIntegerField(
        _("deadline (minutes)"),
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 60)],
        help_text=_("A run that could not begin so long after its time never does."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    looked_at = models.DateTimeField(
        _("looked at"),
        default=timezone.now,
        editable=False,
        help_text=_("Times up to here were written or have passed."),
    )
    outcome = models.TextField(
        _("last outcome"),
        blank=True,
        editable=False,
        help_text=_("Why its last time came to nothing; blank: a deployment was asked for."),
    )

    class Meta:
        ordering = ["environment", "cron", "pk"]
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")

    def __str__(self) -> str:
        return f"{self.recipe} {self.environment} {self.cron}"


class Notification(models.Model):
    """Somebody who is told how an environment's deployments end."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="notifications", verbose_name=_("environment")
    )
    target = models.CharField(
        _("to"),
        max_length=50,
        validators=[validators.name_validator],
        help_text=_("A name in DEPLOY_MANAGER['NOTIFY']; its address stands there."),
    )
    states = models.JSONField(
        _("when it ended as"), default=default_states, validators=[validators.validate_states]
    )

    class Meta:
        ordering = ["environment", "target"]
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        constraints = [
            models.UniqueConstraint(fields=["environment", "target"], name="a_target_is_told_once"),
        ]

    def __str__(self) -> str:
        return f"{self.target} of {self.environment}"
