"""Requirements of an environment, and the lock files that were installed."""

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from deploy_manager.drift import version_of_commit
from deploy_manager.models import validators
from deploy_manager.models.environments import Environment
from deploy_manager.models.moments import MomentField


class Requirement(models.Model):
    """One pinned package of an environment."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="requirements", verbose_name=_("environment")
    )
    name = models.CharField(
        _("name"),
        max_length=200,
        validators=[validators.validate_package],
        help_text=_("Normalised, like my-package."),
    )
    version = models.CharField(
        _("version"), max_length=100, validators=[validators.validate_version]
    )
    extras = models.JSONField(
        _("extras"), default=list, blank=True, validators=[validators.validate_extras]
    )
    marker = models.CharField(
        _("marker"), max_length=1000, blank=True, validators=[validators.validate_marker]
    )
    hashes = models.JSONField(
        _("hashes"),
        default=list,
        blank=True,
        validators=[validators.validate_hashes],
        help_text=_('Like ["sha256:…"].'),
    )
    url = models.CharField(
        _("from"),
        max_length=500,
        blank=True,
        validators=[validators.validate_direct_url],
        help_text=_(
            "Where it comes from if that is no package index: git+https://…@<commit>, or"
            " https://…#sha256=…"
        ),
    )
    direct = models.BooleanField(
        _("direct"),
        default=True,
        help_text=_("Required by the project itself, not by another package."),
    )

    class Meta:
        ordering = ["name", "marker"]
        verbose_name = _("requirement")
        verbose_name_plural = _("requirements")
        default_permissions = ()
        constraints = [
            # With the marker: a package may have one pin for each Python version.
            models.UniqueConstraint(
                fields=["environment", "name", "marker"], name="one_pin_per_package_and_marker"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def clean(self) -> None:
        """Raise ValidationError if the version is not that of the commit it comes from."""
        commit = self.url.partition("#")[0].rpartition("@")[2]
        if self.url.startswith("git+") and self.version != version_of_commit(commit):
            text = _("A commit has no version yet: enter %(version)s.")
            wanted = {"version": version_of_commit(commit)}
            raise ValidationError({"version": ValidationError(text, params=wanted)})


class LockFileQuerySet(models.QuerySet["LockFile"]):
    def of(self, digest: str, text: str) -> "LockFile":
        """Return the lock file of this text; write it the first time."""
        return self.get_or_create(digest=digest, defaults={"text": text})[0]


class LockFile(models.Model):
    """The full set of pins as installed: never changed, named by its hash."""

    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    text = models.TextField(_("pins"), editable=False)
    created_at = MomentField(_("created"), auto_now_add=True)

    objects = LockFileQuerySet.as_manager()

    class Meta:
        verbose_name = _("lock file")
        verbose_name_plural = _("lock files")
        default_permissions = ()

    def __str__(self) -> str:
        return self.digest[:12]
