"""Overrides: pins that an upgrade moved and that the repository does not have yet."""

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.messages import Message
from deploy_manager.models.environments import Environment
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.shapes import texts_in
from deploy_manager.models.upgrades import Upgrade
from deploy_manager.models.validators import validate_package


class OverrideQuerySet(models.QuerySet["Override"]):
    def live(self) -> "OverrideQuerySet":
        """Overrides that still hold."""
        return self.filter(ended_at=None)

    def end(self, how: "Override.End", why: Message | str, by: str = "", **fields: Any) -> int:
        """End those that still hold; return how many."""
        return self.live().update(
            ended_at=Now(), ended_how=how, ended_why=why, ended_by_name=by[:200], **fields
        )


class Override(models.Model):
    """A package's pin as an upgrade left it; it holds until the repository has caught up."""

    class End(models.TextChoices):
        CAUGHT_UP = "caught_up", _("the repository caught up")
        DROPPED = "dropped", _("the repository dropped the package")
        NOT_NEEDED = "not_needed", _("no longer needed")
        REPLACED = "replaced", _("replaced by another upgrade")
        RETURNED = "returned", _("its upgrade was rolled back")
        LET_GO = "let_go", _("let go")

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="overrides", verbose_name=_("environment")
    )
    name = models.CharField(_("package"), max_length=200, validators=[validate_package])
    version = models.CharField(
        _("version"), max_length=100, blank=True, help_text=_("Blank: the upgrade removed it.")
    )
    marker = models.CharField(_("marker"), max_length=1000, blank=True)
    extras = models.JSONField(_("extras"), default=list, blank=True)
    hashes = models.JSONField(_("hashes"), default=list, blank=True)
    direct = models.BooleanField(_("direct"), default=True)
    before = models.JSONField(
        _("before"),
        default=list,
        blank=True,
        help_text=_("The versions in the repository when it was moved. Empty: it was not listed."),
    )
    why = MessageField(_("why"))
    fixes = models.JSONField(
        _("fixes"), default=list, blank=True, help_text=_("The advisories that it fixed.")
    )
    since = MomentField(_("since"), default=timezone.now)
    upgrade = models.ForeignKey(
        Upgrade,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="overrides",
        verbose_name=_("upgrade"),
    )
    # Null as long as it holds.
    ended_at = MomentField(_("ended"), null=True, blank=True)
    ended_how = models.CharField(_("how it ended"), max_length=20, choices=End.choices, blank=True)
    ended_why = MessageField(_("why it ended"))
    ended_by_name = models.CharField(_("ended by"), max_length=200, blank=True)
    replaced_by = models.ForeignKey(
        Upgrade,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("replaced by"),
    )

    objects = OverrideQuerySet.as_manager()

    class Meta:
        ordering = ["name", "marker", "-since", "-pk"]
        verbose_name = _("override")
        verbose_name_plural = _("overrides")
        default_permissions = ()
        constraints = [
            # Of live ones only: the history may have any number of the same package.
            models.UniqueConstraint(
                fields=["environment", "name", "marker"],
                condition=Q(ended_at=None),
                name="one_live_override_per_package_and_marker",
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None, ended_how="")
                | (Q(ended_at__isnull=False) & ~Q(ended_how="")),
                name="an_override_ends_in_some_way",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version or '-'}"

    @property
    def before_text(self) -> str:
        """The versions in the repository when it was moved, as text; blank: it was not listed."""
        return ", ".join(texts_in(self.before))

    @property
    def fixes_text(self) -> str:
        """The advisories that it fixed, as text; blank: none is known."""
        return ", ".join(texts_in(self.fixes))

    @property
    def is_live(self) -> bool:
        return self.ended_at is None
