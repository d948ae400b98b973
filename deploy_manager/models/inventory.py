"""What there is: projects, their environments, servers, and which server serves what."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators


class Project(models.Model):
    """One code base: a git repository with a Django site in it."""

    name = models.CharField(
        _("name"), max_length=50, unique=True, validators=[validators.name_validator]
    )
    repository = models.CharField(
        _("repository"),
        max_length=500,
        validators=[validators.repository_validator],
        help_text=_("A git URL or an absolute path that the worker can read."),
    )
    folder = models.CharField(
        _("folder of manage.py"),
        max_length=200,
        blank=True,
        validators=[validators.relative_path_validator],
        help_text=_("Relative to the top of the repository; blank: the top."),
    )
    requirements_file = models.CharField(
        _("requirements file"),
        max_length=200,
        default="requirements.txt",
        validators=[validators.relative_path_validator],
        help_text=_("Relative to the top of the repository."),
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("project")
        verbose_name_plural = _("projects")

    def __str__(self) -> str:
        return self.name


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

    project = models.ForeignKey(
        Project, models.PROTECT, related_name="environments", verbose_name=_("project")
    )
    name = models.CharField(_("name"), max_length=50, validators=[validators.name_validator])
    ref = models.CharField(
        _("branch or tag"), max_length=200, default="main", validators=[validators.ref_validator]
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
    reload_method = models.CharField(
        _("reload"), max_length=20, choices=ReloadMethod.choices, default=ReloadMethod.GUNICORN
    )
    reload_target = models.CharField(
        _("what to reload"),
        max_length=300,
        blank=True,
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
    servers: "models.ManyToManyField[Server, Placement]" = models.ManyToManyField(
        "Server", through="Placement", related_name="environments", verbose_name=_("servers")
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
        """Take an emptied box for none: a form leaves null there, which no column takes."""
        self.variables = self.variables or {}
        self.shared = self.shared or []


class Server(models.Model):
    """A machine that sites are deployed to, over SSH or as a folder of the worker's own."""

    class Connection(models.TextChoices):
        SSH = "ssh", "SSH"
        LOCAL = "local", _("local: the worker's own machine")

    name = models.CharField(
        _("name"), max_length=100, unique=True, validators=[validators.server_name_validator]
    )
    connection = models.CharField(
        _("connection"), max_length=10, choices=Connection.choices, default=Connection.SSH
    )
    address = models.CharField(
        _("address"), max_length=253, blank=True, validators=[validators.address_validator]
    )
    port = models.PositiveIntegerField(
        _("port"), default=22, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    user = models.CharField(
        _("user"), max_length=32, blank=True, validators=[validators.user_validator]
    )
    gateway = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="behind",
        verbose_name=_("gateway"),
        help_text=_("A server that connections go through."),
    )
    host_key = models.TextField(
        _("host key"),
        blank=True,
        help_text=_("Pinned public key, like “ssh-ed25519 AAAA…”. Anything else is refused."),
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("server")
        verbose_name_plural = _("servers")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(connection="local") | ~models.Q(address=""),
                name="an_ssh_server_has_an_address",
                violation_error_message=_("A server that is reached over SSH needs an address."),
            ),
            models.CheckConstraint(
                condition=models.Q(connection="local") | ~models.Q(user=""),
                name="an_ssh_server_has_a_user",
                violation_error_message=_("A server that is reached over SSH needs a user."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_local(self) -> bool:
        return self.connection == self.Connection.LOCAL

    def clean(self) -> None:
        hop, seen = self.gateway, {self.pk}
        while hop is not None:
            if hop.pk in seen:
                raise ValidationError({"gateway": _("The gateways lead back to this server.")})
            seen.add(hop.pk)
            hop = hop.gateway


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
    seen_at = models.DateTimeField(_("last seen"), null=True, editable=False)

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
