"""Schedules of deployments, and notifications of their outcome."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.environments import Environment
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.owners import Owned
from deploy_manager.models.plans import ConfirmedPlan
from deploy_manager.models.states import (
    APPROVAL_NEEDED,
    GLASS_BROKEN,
    PROCESS_BACK,
    PROCESS_DOWN,
)


def default_states() -> list[str]:
    ends = ["failed", "partly_failed", "lost", "rolled_back"]
    return [*ends, PROCESS_DOWN, PROCESS_BACK, APPROVAL_NEEDED, GLASS_BROKEN]


class Schedule(Owned):
    """A recipe that runs at the times of a cron expression, once for each of them."""

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
        # A week: scheduling.MOST_SLOTS has no room for more.
        validators=[MinValueValidator(1), MaxValueValidator(7 * 24 * 60)],
        help_text=_("A run that has not begun this long after its time is left out."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    # Not null: a new schedule begins with the next time, not with those that have passed.
    looked_at = MomentField(
        _("looked at"),
        default=timezone.now,
        editable=False,
        help_text=_("Times up to here had their deployment, or were left out."),
    )
    outcome = MessageField(
        _("last outcome"),
        editable=False,
        help_text=_("Why there was no deployment at its last time. Blank: there was one."),
    )
    # Null: nobody with the right has saved or confirmed it.
    plan = models.ForeignKey(
        ConfirmedPlan,
        models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="schedules",
        verbose_name=_("confirmed plan"),
    )

    class Meta:
        ordering = ["environment", "cron", "pk"]
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.recipe} {self.environment} {self.cron}"


class Notification(models.Model):
    """A receiver of messages when an environment's deployments end, or a process of it is down."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="notifications", verbose_name=_("environment")
    )
    target = models.CharField(
        _("to"),
        max_length=50,
        validators=[validators.name_validator],
        help_text=_("A name in the setting DEPLOY_MANAGER['NOTIFY'], which has its address."),
    )
    states = models.JSONField(
        _("when"), default=default_states, validators=[validators.validate_states]
    )

    class Meta:
        ordering = ["environment", "target"]
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "target"], name="one_notification_per_target"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.target} of {self.environment}"
