"""Releases: the same code and pins, under the same name, on every server."""

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.messages import Message
from deploy_manager.models import validators
from deploy_manager.models.environments import Environment
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.requirements import LockFile


class ReleaseQuerySet(models.QuerySet["Release"]):
    def good(self) -> "ReleaseQuerySet":
        """Releases that are not marked as bad."""
        return self.filter(bad_since=None)

    def make(
        self,
        environment: Environment,
        commit: str,
        subject: str,
        lock: LockFile,
        repository_lock: LockFile | None = None,
        *,
        build: list[str] | None = None,
    ) -> "Release":
        """Write a new release; its name sorts by time and contains the commit.

        `build` are the build commands of the commit, which each server runs.
        """
        # With microseconds: two deployments in one second must not get the same folder.
        name = f"{timezone.now():%Y%m%d-%H%M%S-%f}-{commit[:8]}"
        return self.create(
            environment=environment,
            name=name,
            commit=commit,
            subject=subject,
            lock=lock,
            repository_lock=repository_lock,
            build=build or [],
        )


class Release(models.Model):
    """One commit with one lock file, in `releases/<name>` on the servers until it is removed."""

    environment = models.ForeignKey(
        Environment, models.CASCADE, related_name="releases", verbose_name=_("environment")
    )
    name = models.CharField(
        _("name"), max_length=100, validators=[validators.release_name_validator]
    )
    commit = models.CharField(_("commit"), max_length=64, validators=[validators.commit_validator])
    subject = models.CharField(_("subject"), max_length=300, blank=True)
    # Protected: a rollback to a release needs its pins.
    lock = models.ForeignKey(
        LockFile, models.PROTECT, related_name="releases", verbose_name=_("pins")
    )
    repository_lock = models.ForeignKey(
        LockFile,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("pins of the repository"),
        help_text=_("The pins of the commit itself, before any override. Blank: not known."),
    )
    # Kept, as the lock files are: an upgrade or a converge need not have the repository at hand.
    build = models.JSONField(
        _("build commands"),
        default=list,
        blank=True,
        validators=[validators.validate_build_commands],
        help_text=_("Those that the commit names in deploy.toml."),
    )
    created_at = MomentField(_("created"), default=timezone.now)
    bad_since = MomentField(
        _("bad since"), null=True, blank=True, help_text=_("Never chosen automatically again.")
    )
    bad_reason = MessageField(_("why it is bad"))

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        get_latest_by = ["created_at", "pk"]
        verbose_name = _("release")
        verbose_name_plural = _("releases")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="one_release_of_a_name_per_environment"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def mark_bad(self, reason: Message | str) -> bool:
        """Keep it from being chosen automatically; False if it was marked before."""
        good = Release.objects.good().filter(pk=self.pk)
        return bool(good.update(bad_since=Now(), bad_reason=reason))
