"""Which server serves what, and what it was last seen to hold."""

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.environments import Environment
from deploy_manager.models.inventory import Server


def default_roles() -> list[str]:
    return ["app"]


class Placement(models.Model):
    """A server's place in an environment, and what it was last seen to serve."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="placements", verbose_name=_("environment")
    )
    server = models.ForeignKey(
        Server, models.PROTECT, related_name="placements", verbose_name=_("server")
    )
    roles = models.JSONField(
        _("roles"), default=default_roles, validators=[validators.validate_roles]
    )
    order = models.PositiveSmallIntegerField(
        _("order"), default=1, help_text=_("The first server runs what runs once, like migrate.")
    )
    own_deploy_path = models.CharField(
        _("deploy path"),
        max_length=200,
        blank=True,
        validators=[validators.absolute_path_validator],
        help_text=_("Blank: the environment's."),
    )
    own_bind = models.CharField(
        _("address"),
        max_length=200,
        blank=True,
        validators=[validators.bind_validator],
        help_text=_("Blank: the environment's."),
    )
    active_release = models.ForeignKey(
        "Release",
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="active_on",
        verbose_name=_("active release"),
    )
    activated_at = models.DateTimeField(
        _("activated"),
        null=True,
        editable=False,
        help_text=_("When the active release was activated there, or first seen to be."),
    )
    complete_releases = models.JSONField(
        _("complete releases"),
        default=list,
        editable=False,
        help_text=_("Names of the releases that were last seen whole on the server."),
    )
    seen_at = models.DateTimeField(_("last seen"), null=True, editable=False)
    inventory_at = models.DateTimeField(
        _("packages seen"),
        null=True,
        editable=False,
        help_text=_("When the server last told what is installed."),
    )
    inventory_tried_at = models.DateTimeField(_("packages asked for"), null=True, editable=False)
    inventory_problem = models.TextField(
        _("why its packages are unknown"), blank=True, editable=False
    )
    implementation = models.CharField(
        _("implementation"), max_length=50, blank=True, editable=False
    )
    python_version = models.CharField(
        _("Python version"), max_length=50, blank=True, editable=False
    )
    platform = models.CharField(_("platform"), max_length=100, blank=True, editable=False)
    libc = models.CharField(_("C library"), max_length=50, blank=True, editable=False)

    class Meta:
        ordering = ["order", "server__name"]
        verbose_name = _("placement")
        verbose_name_plural = _("placements")
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "server", "own_deploy_path"],
                name="one_placement_per_server_and_path",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment} on {self.server}"

    @property
    def deploy_path(self) -> str:
        return self.own_deploy_path or self.environment.deploy_path

    @property
    def bind(self) -> str:
        return self.own_bind or self.environment.bind

    def clean(self) -> None:
        if not hasattr(self, "environment") or self.server_id is None:
            return
        others = Placement.objects.filter(server=self.server).exclude(pk=self.pk)
        for other in others.select_related("environment__project"):
            if other.deploy_path == self.deploy_path:
                raise ValidationError(
                    _("%(site)s is deployed to %(path)s on this server already.")
                    % {"site": other.environment, "path": self.deploy_path}
                )
