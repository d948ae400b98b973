"""Credentials: what servers, repositories and package indexes are logged in to with, and where."""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import validators
from deploy_manager.models.environments import Environment
from deploy_manager.models.inventory import Project, Server
from deploy_manager.models.moments import MomentField
from deploy_manager.models.secret_field import SecretField
from deploy_manager.sealing import Sealed, Secret

LONGEST_PUBLIC = 20_000
"""Characters of what is no secret: a public key, a certificate, lines of known_hosts."""


class CredentialQuerySet(models.QuerySet["Credential"]):
    def for_places(
        self,
        server: Server | None = None,
        environment: Environment | None = None,
        project: Project | None = None,
    ) -> "CredentialQuerySet":
        """Return those that are good here, in any kind; see `Credential.particularity`."""
        found = self
        for name, row in (("server", server), ("environment", environment), ("project", project)):
            none = Q(**{f"{name}__isnull": True})
            found = found.filter(none | Q(**{name: row}) if row is not None and row.pk else none)
        return found


class Credential(models.Model):
    """One key or password, sealed here or kept elsewhere, for all or for one place."""

    class Kind(models.TextChoices):
        LOGIN = "login", _("SSH login to servers")
        BOOTSTRAP = "bootstrap", _("SSH login of bootstrap users")
        GIT_KEY = "git-key", _("git over SSH: deploy key")
        GIT_TOKEN = "git-token", _("git over HTTPS: password or token")
        INDEX = "index", _("package index: password or token")
        SUDO = "sudo", _("sudo password on servers")

    class Source(models.TextChoices):
        HERE = "here", _("stored here, sealed")
        FILE = "file", _("a file of the worker")
        COMMAND = "command", _("a command of the worker that prints it")
        AGENT = "agent", _("the worker's ssh-agent")

    KEYS = frozenset({Kind.LOGIN, Kind.BOOTSTRAP, Kind.GIT_KEY})
    OF_SERVERS = frozenset({Kind.LOGIN, Kind.BOOTSTRAP, Kind.SUDO})
    OF_HOSTS = frozenset({Kind.GIT_KEY, Kind.GIT_TOKEN, Kind.INDEX})
    """Those that are sent to one host only, whatever a project or an environment names."""

    NAMED = frozenset({Kind.GIT_TOKEN, Kind.INDEX})

    name = models.CharField(
        _("name"), max_length=100, unique=True, validators=[validators.server_name_validator]
    )
    kind = models.CharField(_("what for"), max_length=20, choices=Kind.choices)
    source = models.CharField(
        _("where it is"), max_length=20, choices=Source.choices, default=Source.HERE
    )
    secret = SecretField(_("secret"))
    passphrase = SecretField(_("passphrase"))
    reference = models.CharField(
        _("file or word for the command"),
        max_length=500,
        blank=True,
        validators=[validators.reference_validator],
        help_text=_(
            "An absolute path on the worker, or one word for the command, like op://vault/item/key."
        ),
    )
    command = models.CharField(
        _("command"),
        max_length=50,
        blank=True,
        help_text=_("Its name in DEPLOY_MANAGER['SECRET_COMMANDS']."),
    )
    host = models.CharField(
        _("host"),
        max_length=253,
        blank=True,
        validators=[validators.address_validator],
        help_text=_("Of git or of the package index: it is sent to no other one."),
    )
    user = models.CharField(
        _("user"),
        max_length=100,
        blank=True,
        validators=[validators.login_validator],
        help_text=_("For passwords and tokens: what the host calls the user, like oauth2."),
    )
    public_key = models.TextField(
        _("public key"),
        blank=True,
        max_length=LONGEST_PUBLIC,
        help_text=_("Known without the secret if the key is stored here."),
    )
    certificate = models.TextField(
        _("certificate"),
        blank=True,
        max_length=LONGEST_PUBLIC,
        help_text=_("Of the key, signed by your SSH authority: the file that ends with -cert.pub."),
    )
    known_hosts = models.TextField(
        _("host keys"),
        blank=True,
        max_length=LONGEST_PUBLIC,
        validators=[validators.validate_public_lines],
        help_text=_(
            "Of the git server, as lines of known_hosts. Blank: those that the worker's account"
            " knows. A server with another key is refused."
        ),
    )
    server = models.ForeignKey(
        Server,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="credentials",
        verbose_name=_("only for the server"),
    )
    environment = models.ForeignKey(
        Environment,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="credentials",
        verbose_name=_("only for the environment"),
    )
    project = models.ForeignKey(
        Project,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="credentials",
        verbose_name=_("only for the project"),
    )
    changed_at = MomentField(_("changed"), default=timezone.now, editable=False)

    objects = CredentialQuerySet.as_manager()

    class Meta:
        ordering = ["kind", "name"]
        verbose_name = _("credential")
        verbose_name_plural = _("credentials")
        permissions = [("use_credential", _("Can attach a credential to what it is used for"))]
        constraints = [
            *(
                models.UniqueConstraint(
                    fields=["kind", "host", *scope],
                    condition=Q(
                        **{
                            f"{name}__isnull": name not in scope
                            for name in ("server", "environment", "project")
                        }
                    ),
                    name=f"one_credential_for_{'_and_'.join(scope) or 'all'}",
                    violation_error_message=_(
                        "There is another credential of this kind for the same place: which of them"
                        " counts would be unknown."
                    ),
                )
                for scope in (
                    (),
                    ("server",),
                    ("environment",),
                    ("project",),
                    ("server", "environment"),
                )
            ),
            models.CheckConstraint(
                condition=Q(project=None) | Q(server=None, environment=None),
                name="a_credential_of_a_project_is_for_all_of_it",
                violation_error_message=_(
                    "Choose a project, or a server and an environment: not both."
                ),
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=("git-key", "git-token")) | Q(server=None, environment=None),
                name="a_git_credential_is_for_projects",
                violation_error_message=_("A repository is a project's: choose that, or nothing."),
            ),
            models.CheckConstraint(
                condition=~Q(kind="index") | Q(server=None),
                name="an_index_credential_is_for_environments",
                violation_error_message=_(
                    "A package index is an environment's: choose that, its project, or nothing."
                ),
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=("git-key", "git-token", "index")) | ~Q(host=""),
                name="a_credential_of_git_or_an_index_has_a_host",
                violation_error_message=_(
                    "Enter the host that it is sent to: otherwise whoever may change the address of"
                    " a repository or an index could have it sent elsewhere."
                ),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def particularity(self) -> int:
        """How narrow its place is: of those that are good somewhere, the highest one counts."""
        return 4 * bool(self.server_id) + 2 * bool(self.environment_id) + bool(self.project_id)

    @property
    def is_key(self) -> bool:
        return self.kind in self.KEYS

    def clean(self) -> None:
        """Raise ValidationError for fields that do not go together."""
        errors: dict[str, Any] = {}
        kind, source = self.Kind, self.Source
        if self.source == source.AGENT and self.kind not in (kind.LOGIN, kind.BOOTSTRAP):
            errors["source"] = _("An agent has keys for servers only.")
        if self.source == source.HERE and not self.secret:
            errors[NON_FIELD_ERRORS] = _("Enter the secret, or have a key generated.")
        if self.source == source.FILE and not self.reference.startswith(("/", "~")):
            errors["reference"] = _("Enter the absolute path of a file of the worker.")
        if self.source == source.COMMAND:
            errors |= self._problems_of_command()
        if self.kind in self.NAMED and not self.user:
            errors["user"] = _("Enter the user, as git or the index calls it.")
        if self.certificate and self.kind not in (kind.LOGIN, kind.BOOTSTRAP):
            errors["certificate"] = _("Certificates are for logins to servers.")
        if errors:
            raise ValidationError(errors)

    def _problems_of_command(self) -> dict[str, Any]:
        try:
            known = get_settings().SECRET_COMMANDS
        except ConfigurationError as error:
            return {"command": str(error)}
        # A web server may have fewer settings than the worker: what it lacks is said there.
        if known and self.command not in known:
            names = ", ".join(sorted(known))
            return {"command": _("Choose a command of the settings: %s.") % names}
        if not self.command or not self.reference or self.reference.startswith("-"):
            return {"reference": _("Enter the command's name, and the word that it is given.")}
        return {}

    def put(self, secret: Secret, passphrase: Secret | None = None) -> None:
        """Take another value, to be sealed as the row is saved."""
        self.secret, self.passphrase = secret, passphrase
        self.changed_at = timezone.now()

    @property
    def sealed(self) -> Sealed | None:
        return self.secret if isinstance(self.secret, Sealed) else None
