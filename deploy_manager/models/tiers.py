"""Tiers of an environment: its web servers, its database, its caches; see docs/tiers.md."""

import secrets
from collections.abc import Collection
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import validators
from deploy_manager.models.environments import Environment
from deploy_manager.models.secret_field import SecretField
from deploy_manager.models.shapes import texts_in
from deploy_manager.sealing import Secret, current_public_key
from deploy_manager.tiers.kinds import complete_options, get_kind, kinds
from deploy_manager.tiers.listening import parse_listen

MOST_ENTRIES = 50
"""Of addresses and of names."""

MOST_LINES = 20_000
"""Characters of a tier's own lines."""

tier_name_validator = RegexValidator(
    r"^[a-z][a-z0-9-]{0,29}\Z",
    _("Use lower case letters, digits and -, and begin with a letter: files are named by it."),
)
host_name_validator = RegexValidator(
    r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z",
    _("Enter host names like shop.example.org or *.example.org."),
)
variable_validator = RegexValidator(
    r"^[A-Z_][A-Z0-9_]{0,99}\Z", _("Enter the name of a variable, like DATABASE_URL.")
)


def make_secret() -> Secret:
    # Without + and /: it stands in URLs, and in files of several programs.
    return Secret(secrets.token_hex(24))


def validate_kind(value: str) -> None:
    """Take the name of a kind of tier. Raises ValidationError with those that there are."""
    if value not in kinds():
        raise ValidationError(
            _("There is no tier %(name)s. Known: %(known)s."),
            params={"name": value, "known": ", ".join(kinds())},
        )


def validate_listen(value: object) -> None:
    """Take a JSON list of addresses to listen on. Raises ValidationError."""
    for text in _texts(value, '["http://*:80"]'):
        try:
            parse_listen(text, usual_port=1)  # the kind knows its own
        except ValueError as error:
            raise ValidationError(str(error)) from None


def validate_names(value: object) -> None:
    """Take a JSON list of host names. Raises ValidationError."""
    for text in _texts(value, '["shop.example.org"]'):
        host_name_validator(text)
        if len(text) > 253:  # the longest that DNS allows
            raise ValidationError(host_name_validator.message)


def validate_options(value: object) -> None:
    """Take a JSON object of plain values. Raises ValidationError."""
    if not isinstance(value, dict) or not all(
        isinstance(each, (str, int, bool)) for each in value.values()
    ):
        raise ValidationError(_('Enter a JSON object of plain values, like {"max_body": "50m"}.'))


def validate_lines(value: str) -> None:
    """Take lines of a configuration file: printable, and not too many. Raises ValidationError."""
    if len(value) > MOST_LINES:
        raise ValidationError(
            _("Enter at most %(count)d characters."), params={"count": MOST_LINES}
        )
    if any(not character.isprintable() and character not in "\t\r\n" for character in value):
        raise ValidationError(_("There are characters in it that can't be seen: take them out."))


def _texts(value: object, example: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValidationError(
            _("Enter a JSON list, like %(example)s."), params={"example": example}
        )
    if len(value) > MOST_ENTRIES:
        raise ValidationError(_("Enter at most %(count)d entries."), params={"count": MOST_ENTRIES})
    return value


class Tier(models.Model):
    """One thing that a site needs beside its processes, on the servers with its roles."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="tiers", verbose_name=_("environment")
    )
    kind = models.CharField(
        _("kind"),
        max_length=30,
        validators=[validate_kind],
        help_text=_("nginx, apache, lighttpd, caddy, postgresql, memcached, redis …"),
    )
    name = models.CharField(
        _("name"),
        max_length=30,
        blank=True,
        validators=[tier_name_validator],
        help_text=_("Blank: the kind. Only several of one kind need names."),
    )
    roles = models.JSONField(
        _("roles"),
        default=list,
        blank=True,
        validators=[validators.validate_roles],
        help_text=_('Servers that have it, like ["static"]. Empty: as its kind says.'),
    )
    listen = models.JSONField(
        _("listens on"),
        default=list,
        blank=True,
        validators=[validate_listen],
        help_text=_(
            'Like ["http://*:80", "https://*:443"]; {address} is the server\'s own address. It'
            " listens nowhere else. Empty, for databases and caches: where the site reaches it."
        ),
    )
    names = models.JSONField(
        _("host names"),
        default=list,
        blank=True,
        validators=[validate_names],
        help_text=_('Of the site, for web servers: ["shop.example.org"]. Others get no answer.'),
    )
    certificate = models.CharField(
        _("certificate"),
        max_length=300,
        blank=True,
        validators=[validators.absolute_path_validator],
        help_text=_("Its path on the servers, with the chain, like …/fullchain.pem."),
    )
    certificate_key = models.CharField(
        _("key of the certificate"),
        max_length=300,
        blank=True,
        validators=[validators.absolute_path_validator],
    )
    options = models.JSONField(
        _("options"),
        default=dict,
        blank=True,
        validators=[validate_options],
        help_text=_('Of its kind, like {"max_body": "50m"}.'),
    )
    lines = models.TextField(
        _("lines of its own"),
        blank=True,
        validators=[validate_lines],
        help_text=_(
            "Added to its configuration as they are. Whoever may edit them can become root on the"
            " server."
        ),
    )
    variable = models.CharField(
        _("variable"),
        max_length=100,
        blank=True,
        validators=[variable_validator],
        help_text=_(
            "Gets its URL in the site's processes. Blank: as its kind says, like DATABASE_URL."
        ),
    )
    secret = SecretField(_("password"))

    class Meta:
        ordering = ["name"]
        verbose_name = _("tier")
        verbose_name_plural = _("tiers")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="one_tier_of_a_name_per_environment"
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.kind

    def save(self, *args: Any, **options: Any) -> None:
        """Save it, with a password of its own if its kind needs one."""
        kind = kinds().get(self.kind)
        if kind is not None and kind.has_secret and self.secret is None:
            self.secret = make_secret()
            if (fields := options.get("update_fields")) is not None:
                options["update_fields"] = {*fields, "secret"}
        super().save(*args, **options)

    def clean(self) -> None:
        """Raise ValidationError for what its kind does not take."""
        self.roles, self.options = self.roles or [], self.options or {}
        self.listen, self.names = self.listen or [], self.names or []
        self.name = self.name or self.kind
        if (kind := kinds().get(self.kind)) is None or not isinstance(self.options, dict):
            return
        if kind.has_secret and self.secret is None:
            self._check_key()
        try:
            complete_options(kind, self.options)
        except ValueError as error:
            raise ValidationError({"options": str(error)}) from None
        if self.lines and not kind.takes_lines:
            raise ValidationError(
                {"lines": _("%(kind)s takes no lines of its own.") % {"kind": kind.name}}
            )
        if kind.is_web:
            self._check_web_server()
        elif len(self.listen) > 1 or any("://" in each for each in texts_in(self.listen)):
            raise ValidationError({"listen": _("Enter one address and port, or none.")})

    def _check_key(self) -> None:
        """Raise ValidationError if the password it needs can't be sealed."""
        try:
            current_public_key()
        except ConfigurationError as error:
            raise ValidationError({"kind": str(error)}) from None

    def _check_web_server(self) -> None:
        schemes = [text.partition("://")[0] for text in texts_in(self.listen) if "://" in text]
        if not self.listen or len(schemes) < len(self.listen):
            raise ValidationError(
                {"listen": _("Enter where it listens, each with http:// or https://.")}
            )
        if not self.names:
            raise ValidationError({"names": _("Enter the host names: it answers no others.")})
        if "https" in schemes and not (self.certificate and self.certificate_key):
            raise ValidationError(
                {"certificate": _("https needs the paths of a certificate and its key.")}
            )

    def roles_among(self, known: Collection[str]) -> tuple[str, ...]:
        """Return the roles that it runs on, of those that any server has; empty: none."""
        if own := texts_in(self.roles):
            return own
        return next(((role,) for role in get_kind(self.kind).roles if role in known), ())
