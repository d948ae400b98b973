"""The settings of an environment, one part per section of its page in the admin.

Each is an abstract model: the columns are those of `Environment`, and `clean` checks one part.
"""

from collections.abc import Iterable
from datetime import tzinfo

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.inventory import Server
from deploy_manager.schedule.windows import zone_or_utc

TARGET_VALIDATORS = {
    "touch": validators.relative_path_validator,
    "systemd": validators.unit_validator,
    "systemd-user": validators.unit_validator,
    "supervisor": validators.program_validator,
}
"""What `reload_target` must look like, by reload method."""

SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"

IN_BOTH = _("%(names)s: a variable is either plain or secret. Remove it from one of the two.")


def names_in_both(plain: object, secret: Iterable[str]) -> list[str]:
    """Return the names that are among the plain variables and among the secret ones."""
    return sorted(set(plain) & set(secret)) if isinstance(plain, dict) else []


def check_target(method: str, target: str, field: str) -> None:
    """Raise ValidationError for the field if a method can't have this target."""
    check = TARGET_VALIDATORS.get(method)
    if check and target:
        try:
            check(target)
        except ValidationError as error:
            raise ValidationError({field: error}) from None


class SitePart(models.Model):
    """How the site's processes are configured, and what stays when releases come and go."""

    settings_module = models.CharField(
        _("settings module"),
        max_length=200,
        blank=True,
        validators=[validators.module_validator],
        help_text=_(
            "For every process of the site. Blank: the one that manage.py, wsgi.py and asgi.py"
            " name, if it is the same one."
        ),
    )
    variables = models.JSONField(
        _("environment variables"),
        default=dict,
        blank=True,
        validators=[validators.validate_variables],
        help_text=_(
            'Set for every process of the site, like {"DEBUG": "0"}. They are plain text in'
            " the database: all who may change the secrets of the environment can read them here."
            " Passwords and keys are for the secret variables below."
        ),
    )
    shared = models.JSONField(
        _("shared folders and files"),
        default=list,
        blank=True,
        validators=[validators.validate_relative_paths],
        help_text=_('What stays when releases come and go, like ["media", ".env"].'),
    )
    keep_releases = models.PositiveSmallIntegerField(
        _("releases to keep"), default=5, validators=[MinValueValidator(1)]
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        # A form turns an emptied JSON field into None, which the columns don't take; so do the
        # other parts.
        self.variables = self.variables or {}
        self.shared = self.shared or []
        super().clean()
        if not self.settings_module or not isinstance(self.variables, dict):
            return
        if self.variables.get(SETTINGS_VARIABLE, self.settings_module) != self.settings_module:
            raise ValidationError(
                {
                    "settings_module": _(
                        "The environment variables have another DJANGO_SETTINGS_MODULE:"
                        " take it out there, or enter it here."
                    )
                }
            )


class PackagesPart(models.Model):
    """Which packages are installed, from where, by what, and who builds them."""

    class PinsFrom(models.TextChoices):
        COMMIT = "commit", _("the requirements file of the deployed commit")
        ROWS = "rows", _("the requirements listed here")

    class Installer(models.TextChoices):
        PIP = "pip", "pip"
        UV = "uv", "uv"

    class Wheels(models.TextChoices):
        INDEX = "index", _("each server fetches them from the package index")
        SHIPPED = "shipped", _("the worker fetches them once and sends each server what it lacks")

    pins_from = models.CharField(
        _("pins from"), max_length=10, choices=PinsFrom.choices, default=PinsFrom.COMMIT
    )
    python = models.CharField(
        _("Python"), max_length=100, default="python3", validators=[validators.python_validator]
    )
    installer = models.CharField(
        _("installer"), max_length=10, choices=Installer.choices, default=Installer.PIP
    )
    index_url = models.CharField(
        _("package index"),
        max_length=300,
        blank=True,
        validators=[validators.validate_index_url],
        help_text=_("Blank: the one in the server's own pip configuration."),
    )
    wheels = models.CharField(
        _("wheels"), max_length=10, choices=Wheels.choices, default=Wheels.INDEX
    )
    # Null: packages without a wheel can't be installed, as nothing builds them.
    builder = models.ForeignKey(
        Server,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="builds_for",
        verbose_name=_("builder"),
        help_text=_(
            "The server that builds packages without a wheel, once for all servers. Only for"
            " wheels that the worker sends. Blank: no server does."
        ),
    )
    build_commands = models.JSONField(
        _("build commands"),
        default=list,
        blank=True,
        validators=[validators.validate_build_commands],
        help_text=_(
            "Lines of sh, run in each new release before its static files are collected, with its"
            ' own Python as $PYTHON and first in PATH: ["npm ci", "npm run build"]. They come after'
            " those that the repository names in deploy.toml."
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

    class Meta:
        abstract = True

    def clean(self) -> None:
        self.build_commands = self.build_commands or []
        super().clean()
        if self.builder_id is not None and self.wheels != self.Wheels.SHIPPED:
            raise ValidationError(
                {
                    "builder": _(
                        "A builder is only for wheels that the worker sends:"
                        " choose those, or no builder."
                    )
                }
            )


class ServingPart(models.Model):
    """What serves the site, and how it is brought to a new release."""

    class ReloadMethod(models.TextChoices):
        GUNICORN = "gunicorn", _("the processes below; gunicorn if none of them serves the web")
        TOUCH = "touch", _("touch the WSGI file (mod_wsgi)")
        PASSENGER = "passenger", _("touch tmp/restart.txt (Passenger)")
        SYSTEMD = "systemd", _("systemd system unit")
        SYSTEMD_USER = "systemd-user", _("systemd user unit")
        SUPERVISOR = "supervisor", _("supervisor program")
        COMMAND = "command", _("own command")
        NONE = "none", _("nothing to reload")

    class Supervisor(models.TextChoices):
        AUTO = "auto", _("systemd where a server has it, else the own starter")
        SYSTEMD = "systemd", _("systemd, units of the system (root, or sudo)")
        SYSTEMD_USER = "systemd-user", _("systemd, units of the account (lingering)")
        STARTER = "starter", _("the own starter: nothing restarts what ends")

    reload_method = models.CharField(
        _("reload"), max_length=20, choices=ReloadMethod.choices, default=ReloadMethod.GUNICORN
    )
    # Validated in `clean`, by method: only the method "command" may hold a whole command line.
    reload_target = models.CharField(
        _("what to reload"),
        max_length=300,
        blank=True,
        validators=[validators.validate_command],
        help_text=_(
            "The WSGI file, the unit, the supervisor program or the command. Blank for a WSGI file:"
            " site.wsgi in the deploy path, which is written from here."
        ),
    )
    wsgi_application = models.CharField(
        _("WSGI application"),
        max_length=200,
        blank=True,
        validators=[validators.wsgi_validator],
        help_text=_("For gunicorn, like config.wsgi:application. Blank: the one in the settings."),
    )
    supervisor = models.CharField(
        _("supervisor"),
        max_length=20,
        choices=Supervisor.choices,
        default=Supervisor.AUTO,
        help_text=_("What runs the processes that are started from here, and after a reboot."),
    )
    at_boot = models.BooleanField(
        _("start after a reboot"),
        default=True,
        help_text=_("By systemd, or by a line @reboot in the crontab of the account."),
    )
    procfile = models.BooleanField(
        _("Procfile"),
        default=False,
        help_text=_("Run what the repository's Procfile lists, too."),
    )
    restart_down = models.BooleanField(
        _("start what is down"),
        default=False,
        help_text=_("Start a process again if it is seen not to run, between deployments."),
    )
    # A placement can have its own, for servers with several sites.
    bind = models.CharField(
        _("address of the site's server"),
        max_length=200,
        default="127.0.0.1:8000",
        validators=[validators.bind_validator],
        help_text=_(
            "The address on each server that gunicorn listens on and health checks ask;"
            " {address}:8000 is the server's own."
        ),
    )
    workers = models.PositiveSmallIntegerField(
        _("gunicorn workers"), default=2, validators=[MinValueValidator(1), MaxValueValidator(64)]
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        check_target(self.reload_method, self.reload_target, "reload_target")


class HealthPart(models.Model):
    """The request by which a server proves that it serves after a release was activated."""

    health_path = models.CharField(
        _("health check"),
        max_length=200,
        default="/",
        blank=True,
        validators=[validators.url_path_validator],
        help_text=_("Path requested over HTTP after a release was activated. Blank: no check."),
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
        help_text=_("A name from ALLOWED_HOSTS. Blank: the address that is requested."),
    )
    # Of all attempts together: a server that is still starting is asked again.
    health_deadline = models.PositiveSmallIntegerField(_("health deadline (seconds)"), default=30)

    class Meta:
        abstract = True


class RolloutPart(models.Model):
    """How a deployment spreads over the servers, and what happens if it fails."""

    class Strategy(models.TextChoices):
        ALL = "all", _("all servers at once")
        WAVES = "waves", _("in waves")

    class Migrate(models.TextChoices):
        BEFORE = "before", _("before the release is activated")
        AFTER = "after", _("after the release was activated everywhere")
        NEVER = "never", _("never: by hand")

    strategy = models.CharField(
        _("strategy"), max_length=10, choices=Strategy.choices, default=Strategy.ALL
    )
    # The three sizes are text, since each is a number of servers or a percentage of them.
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
    # A day at most: what waits holds the environment meanwhile.
    pause = models.PositiveIntegerField(
        _("pause between waves (seconds)"), default=0, validators=[MaxValueValidator(86400)]
    )
    max_failures = models.CharField(
        _("tolerated failures"),
        max_length=10,
        default="0",
        validators=[validators.validate_rollout_size],
        help_text=_(
            "If more servers than this fail, 1 or 10 %, the rest is stopped. An upgrade tolerates"
            " none."
        ),
    )
    role_order = models.JSONField(
        _("order of roles"),
        default=list,
        blank=True,
        validators=[validators.validate_roles],
        help_text=_('Roles that are switched one after the other, like ["worker", "app"].'),
    )
    migrate = models.CharField(
        _("migrate"),
        max_length=10,
        choices=Migrate.choices,
        default=Migrate.BEFORE,
        help_text=_("For deployments and upgrades: a converge never migrates."),
    )
    migrate_databases = models.JSONField(
        _("databases to migrate"),
        default=list,
        blank=True,
        validators=[validators.validate_databases],
        help_text=_(
            'Names in DATABASES, in the order of their migrations: ["default", "reports"].'
            " Empty: the default one, if no other could be migrated."
        ),
    )
    lock_timeout = models.PositiveSmallIntegerField(
        _("lock timeout of migrations (seconds)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3600)],
        help_text=_(
            "For PostgreSQL: a migration that waits longer for a table fails, instead of"
            " keeping the site's requests waiting. Blank: none."
        ),
    )
    keep_backups = models.PositiveSmallIntegerField(
        _("backups to keep"),
        default=0,
        validators=[MaxValueValidator(100)],
        help_text=_(
            "Of each database (SQLite, PostgreSQL) that is migrated: one is made on the server"
            " before migrations are applied. 0: none."
        ),
    )
    compile_messages = models.BooleanField(
        _("compile translations"),
        default=False,
        help_text=_(
            "Runs compilemessages in each new release before it is activated."
            " Needs GNU gettext on the servers."
        ),
    )
    rollback_on_failure = models.BooleanField(
        _("roll back automatically"),
        default=False,
        help_text=_(
            "A server that fails its health check goes back to the release it had;"
            " if too many fail, all of them do. In an upgrade they always do."
        ),
    )

    class Meta:
        abstract = True

    def clean(self) -> None:
        self.role_order = self.role_order or []
        self.migrate_databases = self.migrate_databases or []
        super().clean()


class ApprovalPart(models.Model):
    """How many people beside the one who asks must agree before what serves may change."""

    approvals_needed = models.PositiveSmallIntegerField(
        _("approvals"),
        default=0,
        validators=[MaxValueValidator(10)],
        help_text=_(
            "How many people beside the one who asks must approve whatever changes what serves."
            " 0: none."
        ),
    )
    approval_hours = models.PositiveSmallIntegerField(
        _("approve within (hours)"),
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(30 * 24)],
        help_text=_("After that it counts as denied."),
    )

    class Meta:
        abstract = True


class GatePart(models.Model):
    """What the CI has to say of new code before it may come here."""

    required_statuses = models.JSONField(
        _("required checks"),
        default=list,
        blank=True,
        validators=[validators.validate_contexts],
        help_text=_(
            'Checks of the CI that have to have succeeded for a commit, like ["tests"]. Empty:'
            " none."
        ),
    )

    class Meta:
        abstract = True


class AllowedTimesPart(models.Model):
    """When releases may change; see also models.freezes."""

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

    class Meta:
        abstract = True

    @property
    def zone(self) -> tzinfo:
        """The time zone in which its times are typed and shown; UTC if this machine lacks it."""
        return zone_or_utc(self.time_zone)

    def clean(self) -> None:
        self.windows = self.windows or []
        super().clean()
