"""Known vulnerabilities, and the package versions that were checked for them."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.shapes import texts_in


class Advisory(models.Model):
    """A published vulnerability of a package; one that several packages have is several rows."""

    identifier = models.CharField(
        _("identifier"), max_length=100, help_text=_("Like GHSA-… or CVE-….")
    )
    package = models.CharField(_("package"), max_length=200, db_index=True)
    aliases = models.JSONField(_("also known as"), default=list, blank=True)
    summary = models.TextField(_("summary"), blank=True)
    fixed_in = models.JSONField(_("fixed in"), default=list, blank=True)
    url = models.CharField(_("address"), max_length=500, blank=True)
    first_seen_at = MomentField(_("first seen"), default=timezone.now)

    class Meta:
        ordering = ["-first_seen_at", "identifier"]
        verbose_name = _("advisory")
        verbose_name_plural = _("advisories")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["identifier", "package"], name="one_advisory_per_identifier_and_package"
            ),
        ]

    def __str__(self) -> str:
        return self.identifier

    @property
    def first_fixed(self) -> tuple[str, ...]:
        """The first good version of each line that was fixed, as far as the row can be read."""
        return texts_in(self.fixed_in)

    @property
    def names(self) -> tuple[str, ...]:
        """Its identifier and its aliases, as far as the row can be read."""
        return (self.identifier, *texts_in(self.aliases))


class AuditedVersionQuerySet(models.QuerySet["AuditedVersion"]):
    def checked(self) -> "AuditedVersionQuerySet":
        """Versions whose last check gave a complete answer."""
        return self.filter(problem="", checked_at__isnull=False)


class AuditedVersion(models.Model):
    """One version of a package, and the vulnerabilities known of it.

    It is *unknown* until a check has succeeded: a failed check never makes a version look safe.
    """

    class Verdict(models.TextChoices):
        UNKNOWN = "unknown", _("unknown")
        VULNERABLE = "vulnerable", _("vulnerable")
        CLEAN = "clean", _("no known vulnerability")

    name = models.CharField(_("name"), max_length=200)
    version = models.CharField(_("version"), max_length=100)
    # Null until the first check succeeds; `tried_at` also counts those that failed.
    checked_at = MomentField(_("checked"), null=True, help_text=_("When a check last succeeded."))
    tried_at = MomentField(_("last tried"), null=True)
    problem = MessageField(_("why it is unknown"))
    advisories: "models.ManyToManyField[Advisory, models.Model]" = models.ManyToManyField(
        Advisory, related_name="versions", blank=True, verbose_name=_("advisories")
    )

    objects = AuditedVersionQuerySet.as_manager()

    class Meta:
        ordering = ["name", "version"]
        verbose_name = _("audited version")
        verbose_name_plural = _("audited versions")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="one_audit_per_version"),
        ]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def verdict(self) -> "AuditedVersion.Verdict":
        """The result of the last check; a known advisory counts even if a later check fails."""
        # Not exists(), which asks the database once more although they were fetched along.
        if self.advisories.all():
            return self.Verdict.VULNERABLE
        return self.Verdict.CLEAN if self.is_checked else self.Verdict.UNKNOWN

    @property
    def is_checked(self) -> bool:
        """As `AuditedVersion.objects.checked()`; if not, more advisories may exist than here."""
        return not self.problem and self.checked_at is not None
