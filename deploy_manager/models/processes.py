"""Processes: what a site runs on its servers, beside or instead of a plain gunicorn."""

import re
from collections.abc import Collection
from string import Formatter

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.environments import Environment
from deploy_manager.models.shapes import texts_in

WEB_ROLES = ("web", "app")
"""Servers with one of these serve the web; where no server has them, all do."""

PLACEHOLDERS = (
    *("application", "bind", "deploy_path", "fd", "host", "instance", "name"),
    *("number", "port", "python", "release", "shared", "socket", "workers"),
)
"""What a command may have in braces; each is filled in as one quoted word."""

BEAT = re.compile(r"\bcelery\b.*\sbeat\b")
OF_AN_ADDRESS = frozenset({"bind", "host", "port", "socket"})

process_name_validator = RegexValidator(
    r"^[a-z][a-z0-9-]{0,29}\Z",
    _("Use lower case letters, digits and -, and begin with a letter: units are named by it."),
)
application_validator = RegexValidator(
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?\Z",
    _("Enter a module, or a module and a variable, like config or config.asgi:application."),
)


def fields_of(command: str) -> set[str]:
    """Return the placeholders of a command; none if it is not valid."""
    try:
        return {name for _text, name, _form, _conversion in Formatter().parse(command) if name}
    except ValueError:
        return set()


def validate_process_command(value: str) -> None:
    """Take a line of sh with known placeholders in braces. Raises ValidationError."""
    validators.validate_command(value)
    try:
        fields = list(Formatter().parse(value))
    except ValueError as error:
        raise ValidationError(
            _("%(error)s: write {{ and }} for braces that are meant as they are."),
            params={"error": error},
        ) from None
    for _text, name, form, conversion in fields:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            raise ValidationError(
                _("{%(name)s} is not a placeholder. Known: %(known)s. Write {{ for a brace."),
                params={"name": name, "known": ", ".join(PLACEHOLDERS)},
            )


class Process(models.Model):
    """One thing that a site runs on its servers, and what it must show to count as running."""

    class Kind(models.TextChoices):
        WSGI = "wsgi", _("web server, WSGI (gunicorn)")
        ASGI = "asgi", _("web server, ASGI (uvicorn)")
        WORKER = "worker", _("Celery worker")
        BEAT = "beat", _("Celery beat: on one server only")
        COMMAND = "command", _("own command")

    class StopSignal(models.TextChoices):
        TERM = "TERM", "SIGTERM"
        INT = "INT", "SIGINT"
        QUIT = "QUIT", "SIGQUIT"
        HUP = "HUP", "SIGHUP"
        USR1 = "USR1", "SIGUSR1"

    class Health(models.TextChoices):
        UP = "up", _("it runs and stays up")
        PING = "ping", _("it answers a ping of Celery")
        HTTP = "http", _("a URL answers on the server")
        COMMAND = "command", _("a command succeeds")

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="processes", verbose_name=_("environment")
    )
    name = models.CharField(_("name"), max_length=30, validators=[process_name_validator])
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices, default=Kind.WORKER)
    command = models.CharField(
        _("command"),
        max_length=500,
        blank=True,
        validators=[validate_process_command],
        help_text=_(
            "Run in the code, with the site's variables. Blank: the usual one of the kind."
            " Placeholders: {port}, {fd}, {application}, {instance} …"
        ),
    )
    application = models.CharField(
        _("application"),
        max_length=200,
        blank=True,
        validators=[application_validator],
        help_text=_(
            "Like config.asgi:application, or config for Celery. Blank: as the settings say."
        ),
    )
    roles = models.JSONField(
        _("roles"),
        default=list,
        blank=True,
        validators=[validators.validate_roles],
        help_text=_(
            'Servers that run it, like ["worker"]. Empty: those with a role of its name, if there'
            " are any; else those with the role app."
        ),
    )
    number = models.PositiveSmallIntegerField(
        _("how many"),
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(64)],
        help_text=_("On each server. For web servers: their workers."),
    )
    bind = models.CharField(
        _("address"),
        max_length=200,
        blank=True,
        validators=[validators.bind_validator],
        help_text=_(
            "Where it listens. Blank: for web servers that of the site's server, for others none."
        ),
    )
    stop_signal = models.CharField(
        _("stop signal"), max_length=10, choices=StopSignal.choices, default=StopSignal.TERM
    )
    stop_seconds = models.PositiveSmallIntegerField(
        _("time to stop (seconds)"),
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(3600)],
        help_text=_("After this it is killed: tasks that take longer are cut off."),
    )
    stays_up = models.PositiveSmallIntegerField(
        _("has to stay up (seconds)"),
        default=10,
        validators=[MaxValueValidator(600)],
        help_text=_(
            "Longer than it takes to fail when it starts. Web servers and what answers a ping have"
            " two seconds, since their answers tell more."
        ),
    )
    memory = models.PositiveIntegerField(
        _("memory limit (MiB)"),
        default=0,
        help_text=_("0: none. Kept by systemd."),
    )
    health = models.CharField(_("check"), max_length=10, choices=Health.choices, default=Health.UP)
    health_target = models.CharField(
        _("URL or command of the check"),
        max_length=300,
        blank=True,
        validators=[validators.validate_command],
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("process")
        verbose_name_plural = _("processes")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="one_process_of_a_name_per_environment"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_web(self) -> bool:
        return self.kind in (self.Kind.WSGI, self.Kind.ASGI)

    def clean(self) -> None:
        """Raise ValidationError for what can't run as it is, or would run twice."""
        self.roles = self.roles or []
        self._check_kind()
        self._check_health()
        needs_address = OF_AN_ADDRESS.intersection(fields_of(self.command))
        if needs_address and not self.is_web and not self.bind:
            raise ValidationError({"bind": _("Enter the address that the command names.")})

    def _check_kind(self) -> None:
        environment = self.environment if self.environment_id is not None else None
        if self.name == "web" and not self.is_web:
            raise ValidationError(
                {"kind": _("A process called web serves the web: choose a web server.")}
            )
        if self.kind != self.Kind.BEAT and BEAT.search(self.command):
            raise ValidationError({"kind": _("This command runs beat: choose the kind beat.")})
        if self.command or environment is None:
            return
        if self.kind == self.Kind.COMMAND and not environment.procfile:
            raise ValidationError({"command": _("Enter the command: this kind has no usual one.")})
        others = environment.processes.filter(kind=self.Kind.WSGI, command="").exclude(pk=self.pk)
        if self.kind == self.Kind.WSGI and others.exists():
            raise ValidationError(
                {"command": _("Only one gunicorn can be without a command of its own.")}
            )

    def _check_health(self) -> None:
        needs_target = self.health in (self.Health.HTTP, self.Health.COMMAND)
        if needs_target and not self.health_target:
            raise ValidationError({"health_target": _("Enter the URL or the command to check.")})
        if self.health == self.Health.PING and self.kind != self.Kind.WORKER:
            raise ValidationError({"health": _("Only a Celery worker answers a ping of Celery.")})

    def roles_among(self, known: Collection[str]) -> tuple[str, ...]:
        """Return the roles that it runs on, of those that any server has; empty: all servers."""
        if own := texts_in(self.roles):
            return own
        if self.is_web:
            return tuple(role for role in WEB_ROLES if role in known)
        return next(((role,) for role in (self.name, self.kind, "app") if role in known), ())


def serves_web(roles: Collection[str], known: Collection[str]) -> bool:
    """Whether a server with these roles serves the web, if the environment's have those known."""
    wanted = set(WEB_ROLES).intersection(known)
    return not wanted or not wanted.isdisjoint(roles)


def runs_on(process: Process, roles: Collection[str], known: Collection[str]) -> bool:
    """Whether a process runs on a server with these roles."""
    wanted = process.roles_among(known)
    return not wanted or not set(wanted).isdisjoint(roles)
