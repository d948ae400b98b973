"""Projects and servers."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.places import Moving, MovingQuerySet


class Project(models.Model):
    """One code base: a git repository with a Django site in it."""

    name = models.CharField(
        _("name"), max_length=50, unique=True, validators=[validators.name_validator]
    )
    repository = models.CharField(
        _("repository"),
        max_length=500,
        validators=[validators.validate_repository],
        help_text=_("A git URL, or an absolute path that the worker can read."),
    )
    folder = models.CharField(
        _("folder of manage.py"),
        max_length=200,
        blank=True,
        validators=[validators.validate_code_path],
        help_text=_("Relative to the top of the repository. Blank: the top."),
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


class ServerQuerySet(MovingQuerySet["Server"]):
    pass


class Server(Moving):
    """A machine that sites are deployed to: over SSH, or the worker's own machine."""

    class Connection(models.TextChoices):
        SSH = "ssh", "SSH"
        LOCAL = validators.LOCAL, _("local: the worker's own machine")

    name = models.CharField(
        _("name"), max_length=100, unique=True, validators=[validators.server_name_validator]
    )
    connection = models.CharField(
        _("connection"),
        max_length=10,
        choices=Connection.choices,
        default=Connection.SSH,
        validators=[validators.validate_connection],
    )
    # 253: the longest host name that DNS allows; 32 below: the longest user name of Linux.
    address = models.CharField(
        _("address"), max_length=253, blank=True, validators=[validators.address_validator]
    )
    private_address = models.CharField(
        _("private address"),
        max_length=253,
        blank=True,
        validators=[validators.address_validator],
        help_text=_("For what servers send each other, like queries. Blank: the address."),
    )
    # Not a small integer: on PostgreSQL those end at 32,767.
    port = models.PositiveIntegerField(
        _("port"), default=22, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    user = models.CharField(
        _("user"), max_length=32, blank=True, validators=[validators.user_validator]
    )
    bootstrap_user = models.CharField(
        _("bootstrap user"),
        max_length=32,
        blank=True,
        validators=[validators.user_validator],
        help_text=_(
            "root, or an account with sudo without a password, by which the server is provisioned"
            " on request. Blank: it is not provisioned from here."
        ),
    )
    gateway = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="behind",
        verbose_name=_("gateway"),
        help_text=_("The server that connections to this one go through. Blank: none."),
    )
    host_key = models.TextField(
        _("host key"),
        blank=True,
        help_text=_(
            "The pinned public key, like “ssh-ed25519 AAAA…”. A server with any other is refused."
            " Or the key of an authority that signs host keys: “@cert-authority ssh-ed25519 AAAA…”."
        ),
    )
    legacy_algorithms = models.BooleanField(
        _("legacy algorithms"),
        default=False,
        help_text=_(
            "Accept SSH ciphers and checksums that can be broken (CBC, 3DES, MD5, SHA-1), for a"
            " server that has no others."
        ),
    )

    objects = ServerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = _("server")
        verbose_name_plural = _("servers")
        permissions = [("use_server", "Can place environments on server")]
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

    @property
    def reached_at(self) -> str:
        """The address that the other servers reach it by, IP version 6 in brackets."""
        address = self.private_address or self.address or "127.0.0.1"
        return f"[{address}]" if ":" in address else address

    @property
    def account(self) -> str:
        """The account that is reached, as `places.here` has it."""
        if self.is_local:
            return "local"
        return f"{self.user}@{self.address}:{self.port} by {self.gateway_id or ''}"

    def clean(self) -> None:
        """Raise ValidationError if the gateways form a circle."""
        hop, seen = self.gateway, {self.pk}
        while hop is not None:
            if hop.pk in seen:
                raise ValidationError({"gateway": _("The gateways lead back to this server.")})
            seen.add(hop.pk)
            hop = hop.gateway
