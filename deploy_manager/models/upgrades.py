"""Upgrades: other pins for the code that serves, one environment after the other."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.deployments import Deployment
from deploy_manager.models.environments import Environment
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.plans import ConfirmedPlan
from deploy_manager.models.releases import Release
from deploy_manager.models.requirements import LockFile
from deploy_manager.models.shapes import objects_in, texts_in


class UpgradeState(models.TextChoices):
    """The state of an upgrade, or of its stage in one environment."""

    WAITING = "waiting", _("waiting")
    RUNNING = "running", _("running")
    RETURNING = "returning", _("returning")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    ROLLED_BACK = "rolled_back", _("rolled back")
    SKIPPED = "skipped", _("skipped")
    CANCELLED = "cancelled", _("cancelled")

    @property
    def is_live(self) -> bool:
        return self in UPGRADE_LIVE


UPGRADE_LIVE = (UpgradeState.WAITING, UpgradeState.RUNNING, UpgradeState.RETURNING)
"""States of what has not ended yet."""


class OnFailure(models.TextChoices):
    """What happens to environments that have the upgrade already if it fails in a later one."""

    RETURN = "return", _("all environments return to what they had")
    STOP = "stop", _("only the failed environment returns")


class UpgradeQuerySet(models.QuerySet["Upgrade"]):
    def live(self) -> "UpgradeQuerySet":
        """Upgrades that have not ended yet."""
        return self.filter(state__in=UPGRADE_LIVE)


class Upgrade(models.Model):
    """One request to install other versions: packages, environments in order, and outcome."""

    wanted = models.JSONField(
        _("wanted"), help_text=_("The packages, and how far each may go, as requested.")
    )
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    state = models.CharField(
        _("state"),
        max_length=15,
        choices=UpgradeState.choices,
        default=UpgradeState.WAITING,
    )
    message = MessageField(_("message"))
    # Null for the command line and for policies, and once the account is deleted: the name stays.
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    requested_by_name = models.CharField(_("requested as"), max_length=200)
    source = models.CharField(_("source"), max_length=20)
    token = models.ForeignKey(
        "Token",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="upgrades",
        verbose_name=_("token"),
    )
    policy_run = models.ForeignKey(
        "PolicyRun",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="upgrades",
        verbose_name=_("run of a policy"),
    )
    soak = models.PositiveIntegerField(
        _("soak (seconds)"),
        default=0,
        help_text=_(
            "How long the canary, and each environment, must run well before the next begins."
        ),
    )
    on_failure = models.CharField(
        _("on failure"), max_length=10, choices=OnFailure.choices, default=OnFailure.RETURN
    )
    cancel_requested_by_name = models.CharField(_("cancelled by"), max_length=200, blank=True)
    created_at = MomentField(_("requested"), default=timezone.now, db_index=True)
    finished_at = MomentField(_("finished"), null=True)

    objects = UpgradeQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("upgrade")
        verbose_name_plural = _("upgrades")
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=UpgradeState.values), name="an_upgrade_has_a_known_state"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.title}"

    @property
    def title(self) -> str:
        """The packages, and how far each may go: django==5.2.8, celery (patch)."""
        words = [
            f"{each.get('name')}=={each.get('version')}"
            if each.get("reach") == "exact"
            else f"{each.get('name')} ({each.get('reach')})"
            for each in objects_in(self.wanted)
        ]
        return ", ".join(words) or gettext("to the listed pins")

    @property
    def is_live(self) -> bool:
        return self.state in UPGRADE_LIVE

    @property
    def goes_forward(self) -> bool:
        """Whether some of it waits or runs, and is not being rolled back: that can be cancelled.

        So can one without a live stage: another upgrade holds up that it goes back.
        """
        live = set(self.stages.filter(state__in=UPGRADE_LIVE).values_list("state", flat=True))
        return self.is_live and live != {UpgradeState.RETURNING}


class UpgradeStage(models.Model):
    """The part of an upgrade in one environment: from one lock file to another, or back."""

    upgrade = models.ForeignKey(
        Upgrade, models.CASCADE, related_name="stages", verbose_name=_("upgrade")
    )
    number = models.PositiveSmallIntegerField(_("number"))
    environment = models.ForeignKey(
        Environment, models.PROTECT, related_name="upgrade_stages", verbose_name=_("environment")
    )
    state = models.CharField(
        _("state"), max_length=15, choices=UpgradeState.choices, default=UpgradeState.WAITING
    )
    message = MessageField(_("message"))
    lock_before = models.ForeignKey(
        LockFile, models.PROTECT, related_name="+", verbose_name=_("pins before")
    )
    lock_after = models.ForeignKey(
        LockFile, models.PROTECT, related_name="+", verbose_name=_("pins after")
    )
    moves = models.JSONField(
        _("changes"),
        default=list,
        help_text=_("Each package that changes: name, before, after, why, and facts of its index."),
    )
    # Null: not known. The list may have had pins that did not serve yet, and those return to it.
    listed_before = models.ForeignKey(
        LockFile,
        models.PROTECT,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("listed before"),
    )
    # Null until it begins, if nothing served then, and once that release is deleted.
    release_before = models.ForeignKey(
        Release,
        models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("release before"),
    )
    deployment = models.OneToOneField(
        Deployment,
        models.SET_NULL,
        null=True,
        related_name="upgrade_stage",
        verbose_name=_("deployment"),
    )
    returned_by = models.OneToOneField(
        Deployment,
        models.SET_NULL,
        null=True,
        related_name="upgrade_return",
        verbose_name=_("rolled back by"),
    )
    plan = models.ForeignKey(
        ConfirmedPlan,
        models.PROTECT,
        null=True,
        editable=False,
        related_name="upgrade_stages",
        verbose_name=_("confirmed plan"),
    )
    opens_at = MomentField(
        _("begins"), null=True, help_text=_("When the soak of the previous environment ends.")
    )

    class Meta:
        ordering = ["upgrade", "number"]
        verbose_name = _("environment of an upgrade")
        verbose_name_plural = _("environments of an upgrade")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["upgrade", "number"], name="one_upgrade_stage_of_a_number"
            ),
            # Two upgrades of one environment would each move the pins of the other.
            models.UniqueConstraint(
                fields=["environment"],
                condition=Q(state__in=["waiting", "running", "returning"]),
                name="one_live_upgrade_per_environment",
            ),
            models.CheckConstraint(
                condition=Q(state__in=UpgradeState.values),
                name="an_upgrade_stage_has_a_known_state",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment}: {self.get_state_display()}"

    @property
    def moved(self) -> tuple[dict[str, Any], ...]:
        """The packages that change, as far as the row can be read."""
        blank = {"name": "?", "before": "", "after": "", "why": ""}
        lists = ("fixes", "advisories")
        return tuple(
            {**blank, **each, **{name: texts_in(each.get(name)) for name in lists}}
            for each in objects_in(self.moves)
        )
