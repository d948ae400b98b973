"""Webhooks: what forges send to us, and what we send to others when a deployment ends."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from deploy_manager.models import validators
from deploy_manager.models.deployments import Deployment
from deploy_manager.models.environments import Environment
from deploy_manager.models.inventory import Project
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.moments import MomentField
from deploy_manager.models.owners import Owned
from deploy_manager.models.secret_field import SecretField

SALT = "deploy_manager.webhook"


def default_ends() -> list[str]:
    return ["succeeded", "failed", "partly_failed", "lost", "rolled_back"]


class IncomingWebhook(Owned):
    """An address for a forge: a push deploys, and the states of commits are noted.

    It acts for its owner. Its secret is not stored: it follows from Django's SECRET_KEY, since a
    web process, which has to check what it receives, opens nothing that is sealed.
    """

    class Kind(models.TextChoices):
        GITHUB = "github", "GitHub"
        GITLAB = "gitlab", "GitLab"
        GITEA = "gitea", "Gitea, Forgejo"

    project = models.ForeignKey(
        Project, models.CASCADE, related_name="incoming_webhooks", verbose_name=_("project")
    )
    name = models.CharField(
        _("name"), max_length=50, unique=True, validators=[validators.server_name_validator]
    )
    kind = models.CharField(_("forge"), max_length=10, choices=Kind.choices)
    # Not the primary key: whoever guesses an address should not even learn how many there are.
    key = models.UUIDField(_("key"), default=uuid.uuid4, unique=True, editable=False)
    secret_version = models.PositiveIntegerField(_("secret no."), default=1, editable=False)
    environments = models.ManyToManyField(
        Environment,
        related_name="incoming_webhooks",
        blank=True,
        verbose_name=_("deploys"),
        help_text=_("On a push to the branch of each. None: it only notes states of commits."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    received_at = MomentField(_("last received"), null=True, blank=True, editable=False)
    outcome = MessageField(_("last outcome"), editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = _("incoming webhook")
        verbose_name_plural = _("incoming webhooks")

    def __str__(self) -> str:
        return self.name

    def secrets(self) -> list[str]:
        """Return the secret, and those that were right with earlier SECRET_KEYs."""
        keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        value = f"{self.key}:{self.secret_version}"
        return [
            salted_hmac(SALT, value, secret=key, algorithm="sha256").hexdigest() for key in keys
        ]

    def renew_secret(self) -> None:
        """Let nothing in any more that is signed with the secret of now."""
        mine = IncomingWebhook.objects.filter(pk=self.pk)
        mine.update(secret_version=F("secret_version") + 1)
        self.refresh_from_db()

    @property
    def acts_as(self) -> str:
        """Who asks for something, as histories show it."""
        return f"{self.owner_name} (webhook {self.name})"[:200]


class WebhookDelivery(models.Model):
    """One delivery of a forge that was genuine, and what came of it."""

    webhook = models.ForeignKey(
        IncomingWebhook, models.CASCADE, related_name="deliveries", verbose_name=_("webhook")
    )
    delivery = models.CharField(_("delivery"), max_length=100)
    event = models.CharField(_("event"), max_length=50)
    commit = models.CharField(_("commit"), max_length=64, blank=True)
    received_at = MomentField(_("received"), default=timezone.now)
    outcome = MessageField(_("outcome"))

    class Meta:
        ordering = ["-received_at", "-pk"]
        verbose_name = _("delivery of a webhook")
        verbose_name_plural = _("deliveries of webhooks")
        default_permissions = ()
        constraints = [
            # A replay, or the same delivery again at the same moment, runs nothing.
            models.UniqueConstraint(
                fields=["webhook", "delivery"], name="one_row_per_delivery_of_a_webhook"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.webhook} {self.event} {self.delivery}"


class OutgoingWebhook(models.Model):
    """An address that is told how deployments of an environment end."""

    class Form(models.TextChoices):
        STANDARD = "standard", _("signed JSON (Standard Webhooks)")
        SENTRY = "sentry", _("Sentry: release and deploy")
        GRAFANA = "grafana", _("Grafana: annotation")

    environment = models.ForeignKey(
        Environment,
        models.CASCADE,
        related_name="outgoing_webhooks",
        verbose_name=_("environment"),
    )
    name = models.CharField(_("name"), max_length=50, validators=[validators.server_name_validator])
    form = models.CharField(_("form"), max_length=10, choices=Form.choices, default=Form.STANDARD)
    url = models.CharField(
        _("address"),
        max_length=300,
        validators=[validators.validate_webhook_address],
        help_text=_(
            "Sentry: https://sentry.io/api/0/organizations/NAME/?project=shop."
            " Grafana: its own address."
        ),
    )
    secret = SecretField(_("secret"))
    states = models.JSONField(
        _("when"), default=default_ends, validators=[validators.validate_ends]
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    # It is told of nothing that ended before.
    created_at = MomentField(_("created"), default=timezone.now, editable=False)

    class Meta:
        ordering = ["environment", "name"]
        verbose_name = _("outgoing webhook")
        verbose_name_plural = _("outgoing webhooks")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="one_outgoing_webhook_of_a_name"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.environment}"


class OutgoingDeliveryQuerySet(models.QuerySet["OutgoingDelivery"]):
    def due(self) -> "OutgoingDeliveryQuerySet":
        """Deliveries that have not arrived, and are to be tried now."""
        return self.filter(delivered_at=None, next_at__lte=timezone.now())


class OutgoingDelivery(models.Model):
    """One message to an outgoing webhook: sent again until it has arrived, or given up."""

    webhook = models.ForeignKey(
        OutgoingWebhook, models.CASCADE, related_name="deliveries", verbose_name=_("webhook")
    )
    deployment = models.ForeignKey(
        Deployment,
        models.CASCADE,
        related_name="outgoing_deliveries",
        verbose_name=_("deployment"),
    )
    # The same at each attempt: by it the receiver knows what it has had already.
    key = models.UUIDField(_("key"), default=uuid.uuid4, unique=True, editable=False)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    # Null: it was given up.
    next_at = MomentField(_("next attempt"), null=True, default=timezone.now, db_index=True)
    delivered_at = MomentField(_("delivered"), null=True, blank=True)
    problem = MessageField(_("problem"))

    objects = OutgoingDeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("delivery to a webhook")
        verbose_name_plural = _("deliveries to webhooks")
        default_permissions = ()
        constraints = [
            # Each end is told once, whoever notes it.
            models.UniqueConstraint(
                fields=["webhook", "deployment"], name="one_delivery_per_webhook_and_deployment"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.webhook}: #{self.deployment_id}"
