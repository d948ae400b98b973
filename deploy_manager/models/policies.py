"""Upgrade policies: automatic upgrades, the packages they ignore, and their runs."""

from typing import Any

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
from deploy_manager.models.upgrades import OnFailure


class UpgradePolicy(Owned):
    """A rule for automatic upgrades: packages, how far, when, and what happens if one fails."""

    class HowFar(models.TextChoices):
        SECURITY = "security", _("security fixes only")
        PATCH = "patch", _("patch versions, like 5.2.7 to 5.2.8")
        MINOR = "minor", _("minor versions, like 5.1 to 5.2")
        LATEST = "latest", _("the latest versions")

    class HandBack(models.TextChoices):
        NONE = "none", _("nowhere")
        BRANCH = "branch", _("as a commit on a branch of the mirror")

    name = models.CharField(_("name"), max_length=100, unique=True)
    is_enabled = models.BooleanField(_("enabled"), default=True)
    environments: "models.ManyToManyField[Environment, Any]" = models.ManyToManyField(
        Environment, through="PolicyEnvironment", verbose_name=_("environments")
    )
    how_far = models.CharField(
        _("how far"), max_length=10, choices=HowFar.choices, default=HowFar.SECURITY
    )
    packages = models.JSONField(
        _("packages"),
        default=list,
        blank=True,
        validators=[validators.validate_packages],
        help_text=_('Like ["django", "celery"]. Empty: all.'),
    )
    groups = models.JSONField(
        _("groups"),
        default=list,
        blank=True,
        validators=[validators.validate_groups],
        help_text=_(
            'Packages that are upgraded together, like [["django", "channels"]].'
            " All packages without a group share one upgrade."
        ),
    )
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
    cooldown = models.PositiveSmallIntegerField(
        _("cooldown (days)"),
        default=3,
        help_text=_("How long a version must have been on the index."),
    )
    security_skips_cooldown = models.BooleanField(
        _("security fixes need no cooldown"), default=True
    )
    soak = models.PositiveIntegerField(
        _("soak (minutes)"),
        default=10,
        validators=[MaxValueValidator(7 * 24 * 60)],
        help_text=_(
            "How long the canary, and each environment, must run well before the next begins."
        ),
    )
    on_failure = models.CharField(
        _("on failure"), max_length=10, choices=OnFailure.choices, default=OnFailure.RETURN
    )
    most_at_once = models.PositiveSmallIntegerField(
        _("upgrades at once"), default=1, validators=[MinValueValidator(1)]
    )
    hand_back = models.CharField(
        _("hand back the new pins"),
        max_length=10,
        choices=HandBack.choices,
        default=HandBack.NONE,
        help_text=_("For repositories whose requirements file lists the pins that are installed."),
    )
    # Times up to here had their run, or were left out; a new policy begins with the next one.
    looked_at = MomentField(_("looked at"), default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("upgrade policy")
        verbose_name_plural = _("upgrade policies")

    def __str__(self) -> str:
        return self.name


class PolicyEnvironment(models.Model):
    """An environment of a policy, and its place in the order: staging before production."""

    policy = models.ForeignKey(
        UpgradePolicy, models.CASCADE, related_name="turns", verbose_name=_("policy")
    )
    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="policies", verbose_name=_("environment")
    )
    order = models.PositiveSmallIntegerField(_("order"), default=1)
    # Null: nobody with the right has saved or confirmed it.
    plan = models.ForeignKey(
        ConfirmedPlan,
        models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="policy_turns",
        verbose_name=_("confirmed plan"),
    )

    class Meta:
        ordering = ["order", "pk"]
        verbose_name = _("environment of a policy")
        verbose_name_plural = _("environments of a policy")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["policy", "environment"], name="one_turn_per_environment"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order}. {self.environment}"


class IgnoredPackage(models.Model):
    """A package, or one advisory of it, that a policy ignores; why, and until when."""

    policy = models.ForeignKey(
        UpgradePolicy, models.CASCADE, related_name="ignored", verbose_name=_("policy")
    )
    package = models.CharField(
        _("package"), max_length=200, validators=[validators.validate_package]
    )
    advisory = models.CharField(
        _("advisory"), max_length=100, blank=True, help_text=_("Blank: all its upgrades.")
    )
    reason = models.CharField(_("reason"), max_length=500)
    until = models.DateField(_("until"), null=True, blank=True, help_text=_("Blank: forever."))

    class Meta:
        ordering = ["package", "advisory"]
        verbose_name = _("ignored package")
        verbose_name_plural = _("ignored packages")
        default_permissions = ()

    def __str__(self) -> str:
        return self.package


class PolicyRun(models.Model):
    """One run of a policy, also if there was nothing to upgrade."""

    policy = models.ForeignKey(
        UpgradePolicy, models.CASCADE, related_name="runs", verbose_name=_("policy")
    )
    slot = MomentField(_("time of the schedule"))
    # Also the heartbeat and the fencing token of the worker that has it: see upgrades.policies.
    created_at = MomentField(_("run"), default=timezone.now)
    # Blank as long as it waits for a worker.
    outcome = MessageField(_("outcome"))

    class Meta:
        ordering = ["-slot", "-pk"]
        verbose_name = _("run of a policy")
        verbose_name_plural = _("runs of policies")
        default_permissions = ()
        constraints = [
            # Two reconcilers that find the same slot due: the second insert fails.
            models.UniqueConstraint(fields=["policy", "slot"], name="one_run_per_policy_and_slot"),
        ]

    def __str__(self) -> str:
        return f"{self.policy} {self.slot:%Y-%m-%d %H:%M}"
