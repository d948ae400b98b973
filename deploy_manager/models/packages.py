"""Packages that are installed on servers, and packages of the index."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.placements import Placement


class InstalledPackage(models.Model):
    """A package found in a server's active release; see Placement.inventory_at."""

    placement = models.ForeignKey(
        Placement, models.CASCADE, related_name="installed", verbose_name=_("placement")
    )
    name = models.CharField(_("name"), max_length=200)
    version = models.CharField(_("version"), max_length=100)

    class Meta:
        ordering = ["name"]
        verbose_name = _("installed package")
        verbose_name_plural = _("packages on servers")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["placement", "name"], name="one_installed_version_per_placement"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


class IndexedPackage(models.Model):
    """The latest version and the status of a package on an index, as last looked up."""

    index_url = models.CharField(
        _("package index"), max_length=300, blank=True, help_text=_("Blank: the worker's own.")
    )
    name = models.CharField(_("name"), max_length=200)
    latest = models.CharField(_("latest version"), max_length=100, blank=True)
    # Null: there is no such version, or the index doesn't say when it was uploaded.
    latest_uploaded_at = MomentField(_("uploaded"), null=True)
    status = models.CharField(
        _("project status"),
        max_length=50,
        blank=True,
        help_text=_("Like archived or quarantined. Blank or active: nothing is wrong with it."),
    )
    requires_python = models.JSONField(
        _("needed Pythons"),
        default=dict,
        help_text=_("By version, as the index gives them; of the newest versions only."),
    )
    # Null: it is due, as a new row or one whose index has changed. Set by the process that claims
    # it, before it asks the index.
    looked_at = MomentField(_("looked up"), null=True)
    problem = MessageField(_("why it is unknown"))

    class Meta:
        ordering = ["name", "index_url"]
        verbose_name = _("package of an index")
        verbose_name_plural = _("packages of indexes")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["index_url", "name"], name="one_row_per_index_and_package"
            ),
        ]

    def __str__(self) -> str:
        return self.name
