"""A site of a project: where it is deployed, how, and when it may be."""

import uuid
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.inventory import Project, Server

RELOADED = {
    "touch": validators.relative_path_validator,
    "systemd": validators.unit_validator,
    "systemd-user": validators.unit_validator,
    "supervisor": validators.program_validator,
}
"""What may be named to be reloaded, by the way it is."""


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    def named(self, name: str, project: str = "") -> "EnvironmentQuerySet":
        """Environments a person means by `production` or `shop/production`."""
        if not project and "/" in name:
            project, name = name.split("/", 1)
        found = self.filter(name=name)
        return found.filter(project__name=project) if project else found


class Environment(models.Model):
    """One site of a project (production, staging, …): one deploy path, one set of pins."""

    class PinsFrom(models.TextChoices):
        COMMIT = "commit", _("the requirements file of the deployed commit")
        ROWS = "rows", _("the requirements listed here")

    class Installer(models.TextChoices):
        PIP = "pip", "pip"
        UV = "uv", "uv"

    class ReloadMethod(models.TextChoices):
        GUNICORN = "gunicorn", _("gunicorn, started and reloaded by its pid file")
        TOUCH = "touch", _("touch the WSGI file (mod_wsgi)")
        SYSTEMD = "systemd", _("systemd system unit")
        SYSTEMD_USER = "systemd-user", _("systemd user unit")
        SUPERVISOR = "supervisor", _("supervisor program")
        COMMAND = "command", _("own command")
        NONE = "none", _("nothing to reload")

    class Migrate(models.TextChoices):
        BEFORE = "before", _("before the release is activated")
        AFTER = "after", _("after the release was activated everywhere")
        NEVER = "never", _("never: by hand")

    class Wheels(models.TextChoices):
        INDEX = "index", _("each server fetches them from the package index")
        SHIPPED = "shipped", _("the worker fetches them once and sends what a server lacks")

    class Strategy(models.TextChoices):
        ALL = "all", _("all servers at once")
        WAVES = "waves", _("in waves")

    project = models.ForeignKey(
        Project, models.PROTECT, related_name="environments", verbose_name=_("project")
    )
    name = models.CharField(_("name"), max_length=50, validators=[validators.name_validator])
    ref = models.CharField(
        _("branch or tag"), max_length=200, default="main", validators=[validators.validate_ref]
    )
    deploy_path = models.CharField(
        _("deploy path"), max_length=200, validators=[validators.absolute_path_validator]
    )
    settings_module = models.CharField(
        _("settings module"),
        max_length=200,
        blank=True,
        validators=[validators.module_validator],
        help_text=_("Blank: what manage.py says."),
    )
    variables = models.JSONField(
        _("environment variables"),
        default=dict,
        blank=True,
        validators=[validators.validate_variables],
        help_text=_("Set for every process of the site. Stored as plain text: no secrets here."),
    )
    shared = models.JSONField(
        _("shared folders"),
        default=list,
        blank=True,
        validators=[validators.validate_relative_paths],
        help_text=_("Folders that stay when releases come and go, like media."),
    )
    python = models.CharField(
        _("Python"), max_length=100, default="python3", validators=[validators.python_validator]
    )
    pins_from = models.CharField(
        _("pins from"), max_length=10, choices=PinsFrom.choices, default=PinsFrom.COMMIT
    )
    installer = models.CharField(
        _("installer"), max_length=10, choices=Installer.choices, default=Installer.PIP
    )
    index_url = models.CharField(
        _("package index"),
        max_length=300,
        blank=True,
        validators=[validators.index_url_validator],
        help_text=_("Blank: what the server's own pip configuration says."),
    )
    wheels = models.CharField(
        _("wheels"), max_length=10, choices=Wheels.choices, default=Wheels.INDEX
    )
    builder = models.ForeignKey(
        Server,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="builds_for",
        verbose_name=_("builder"),
        help_text=_(
            "The server that builds what comes without a wheel, once for all; blank: nobody does."
            " For wheels that are sent."
        ),
    )
    smoke_command = models.CharField(
        _("smoke command"),
        max_length=300,
        blank=True,
        validators=[validators.validate_command],
        help_text=_(
            "Run in the code of a release, with its own Python as $PYTHON, before it may serve:"
            " $PYTHON manage.py test shop.smoke. Blank: none."
        ),
    )
    reload_method = models.CharField(
        _("reload"), max_length=20, choices=ReloadMethod.choices, default=ReloadMethod.GUNICORN
    )
    reload_target = models.CharField(
        _("what to reload"),
        max_length=300,
        blank=True,
        validators=[validators.validate_command],
        help_text=_("The WSGI file, the unit, the supervisor program or the command."),
    )
    wsgi_application = models.CharField(
        _("WSGI application"),
        max_length=200,
        blank=True,
        validators=[validators.wsgi_validator],
        help_text=_("For gunicorn, like config.wsgi:application; blank: what the settings say."),
    )
    bind = models.CharField(
        _("address of the site's server"),
        max_length=200,
        default="127.0.0.1:8000",
        validators=[validators.bind_validator],
        help_text=_("Where gunicorn listens and the health check asks, on each server."),
    )
    workers = models.PositiveSmallIntegerField(
        _("gunicorn workers"), default=2, validators=[MinValueValidator(1), MaxValueValidator(64)]
    )
    health_path = models.CharField(
        _("health check"),
        max_length=200,
        default="/",
        blank=True,
        validators=[validators.url_path_validator],
        help_text=_("Path asked over HTTP after a release was activated; blank: no check."),
    )
    health_status = models.PositiveSmallIntegerField(
        _("expected status"),
        default=200,
        validators=[MinValueValidator(100), MaxValueValidator(599)],
    )
    health_text = models.CharField(_("expected text"), max_length=200, blank=True)
    health_host = models.CharField(
        _("Host header"),
        max_length=200,
        blank=True,
        validators=[validators.host_header_validator],
        help_text=_("A name from ALLOWED_HOSTS; blank: the address that is asked."),
    )
    health_deadline = models.PositiveSmallIntegerField(_("health deadline (seconds)"), default=30)
    keep_releases = models.PositiveSmallIntegerField(
        _("releases to keep"), default=5, validators=[MinValueValidator(1)]
    )
    key = models.UUIDField(
        default=uuid.uuid4,
        unique=True,
        editable=False,
        help_text=_("Names the site in the files of the guards on its servers."),
    )
    migrate = models.CharField(
        _("migrate"), max_length=10, choices=Migrate.choices, default=Migrate.BEFORE
    )
    strategy = models.CharField(
        _("strategy"), max_length=10, choices=Strategy.choices, default=Strategy.ALL
    )
    canary = models.CharField(
        _("canary"),
        max_length=10,
        blank=True,
        default="1",
        validators=[validators.validate_rollout_size],
        help_text=_("How many servers go first: 1, or 10 %. Blank: none. For waves only."),
    )
    batch = models.CharField(
        _("batch"),
        max_length=10,
        blank=True,
        validators=[validators.validate_batch],
        help_text=_("How many servers a wave has after the canary. Blank: all the rest."),
    )
    pause = models.PositiveIntegerField(
        _("pause between waves (seconds)"), default=0, validators=[MaxValueValidator(86400)]
    )
    max_failures = models.CharField(
        _("failures that are borne"),
        max_length=10,
        default="0",
        validators=[validators.validate_rollout_size],
        help_text=_("More failed servers than this, 1 or 10 %, stop the rest."),
    )
    role_order = models.JSONField(
        _("order of roles"),
        default=list,
        blank=True,
        validators=[validators.validate_roles],
        help_text=_('Roles that are switched one after the other, like ["worker", "app"].'),
    )
    rollback_on_failure = models.BooleanField(
        _("roll back by itself"),
        default=False,
        help_text=_(
            "A server that fails its health check goes back to the release it had;"
            " all of them do where too many fail."
        ),
    )
    windows = models.JSONField(
        _("allowed times"),
        default=list,
        blank=True,
        validators=[validators.validate_windows],
        help_text=_('When releases may change, like ["mon-fri 09:00-17:00"]. Empty: always.'),
    )
    time_zone = models.CharField(
        _("time zone"), max_length=50, default="UTC", validators=[validators.validate_time_zone]
    )
    frozen_reason = models.CharField(_("frozen because"), max_length=500, blank=True)
    frozen_until = models.DateTimeField(
        _("frozen until"), null=True, blank=True, help_text=_("Blank: until somebody thaws it.")
    )
    frozen_by_name = models.CharField(_("frozen by"), max_length=200, blank=True)
    frozen_at = models.DateTimeField(_("frozen since"), null=True, blank=True)
    servers: "models.ManyToManyField[Server, Any]" = models.ManyToManyField(
        Server, through="Placement", related_name="environments", verbose_name=_("servers")
    )

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        ordering = ["project__name", "name"]
        verbose_name = _("environment")
        verbose_name_plural = _("environments")
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], name="one_environment_of_a_name_per_project"
            ),
        ]
        permissions = [("deploy_environment", "Can deploy environment")]

    def __str__(self) -> str:
        return f"{self.project.name}/{self.name}"

    def clean(self) -> None:
        """Take an emptied box for none: a form leaves null there, which no column takes.

        Raises ValidationError for a builder that would have nothing to build, and for what can't be
        reloaded in the way that is chosen.
        """
        self.variables = self.variables or {}
        self.shared = self.shared or []
        self.windows = self.windows or []
        self.role_order = self.role_order or []
        if self.builder_id is not None and self.wheels != self.Wheels.SHIPPED:
            raise ValidationError(
                {"builder": _("A builder is for wheels that are sent: choose that, or none.")}
            )
        check = RELOADED.get(self.reload_method)
        if check and self.reload_target:
            try:
                check(self.reload_target)
            except ValidationError as error:
                raise ValidationError({"reload_target": error}) from None

    @property
    def is_frozen(self) -> bool:
        """Whether somebody froze it, and until now nobody or no time thawed it."""
        until = self.frozen_until
        return bool(self.frozen_reason) and (until is None or until > timezone.now())

    def freeze(self, reason: str, by: str, until: datetime | None = None) -> None:
        """Let no release change here, until a time or until it is thawed."""
        self._set_frozen(
            frozen_reason=reason, frozen_by_name=by, frozen_until=until, frozen_at=Now()
        )

    def thaw(self) -> bool:
        """Let releases change again; False where it was not frozen."""
        was_frozen = self.is_frozen
        self._set_frozen(frozen_reason="", frozen_by_name="", frozen_until=None, frozen_at=None)
        return was_frozen

    def _set_frozen(self, **values: Any) -> None:
        Environment.objects.filter(pk=self.pk).update(**values)
        self.refresh_from_db(fields=list(values))

    def describe_freeze(self) -> str:
        """Who froze it, why and until when: told to whoever asks for a change."""
        until = gettext("until it is thawed")
        if self.frozen_until:
            until = (
                gettext("until %s") % f"{timezone.localtime(self.frozen_until):%Y-%m-%d %H:%M %Z}"
            )
        return gettext("%(site)s is frozen by %(who)s %(until)s: %(reason)s") % {
            "site": self,
            "who": self.frozen_by_name,
            "until": until,
            "reason": self.frozen_reason,
        }
