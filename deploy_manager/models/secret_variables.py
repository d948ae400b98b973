"""Secret variables of an environment: sealed here, given to the site's processes only."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.masking import MASK, SHORTEST
from deploy_manager.models.environment_parts import (
    IN_BOTH,
    SETTINGS_VARIABLE,
    names_in_both,
)
from deploy_manager.models.environments import Environment
from deploy_manager.models.moments import MomentField
from deploy_manager.models.secret_field import SecretField
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.models.validators import variable_name_validator
from deploy_manager.sealing import MOST_BYTES, Secret, seal


def secret_of(text: str) -> Secret:
    """Return a value that was entered as a secret. Raises ValidationError, which never shows it."""
    if len(text.strip()) < SHORTEST:
        raise ValidationError(
            _("Enter at least %(least)d characters: a shorter value can't be masked in logs."),
            params={"least": SHORTEST},
        )
    if text.strip() in MASK.decode():
        raise ValidationError(_("Enter another value: masked places would show this one."))
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, which no encoding has
        size = -1
    if size < 0 or "\0" in text:
        raise ValidationError(_("A secret must be text, without NUL."))
    if size > MOST_BYTES:
        raise ValidationError(
            _("A secret has at most %(most)d bytes; this one has more."),
            params={"most": MOST_BYTES},
        )
    return Secret(text)


class SecretVariableQuerySet(models.QuerySet["SecretVariable"]):
    def put(self, environment: Environment, name: str, value: Secret, by: str) -> bool:
        """Set a secret variable of an environment; return whether it is a new one.

        Raises ValidationError, ConfigurationError if there is no key to seal it with.
        """
        sealed = seal(value)
        with brief_transaction():
            # Its variables must not get one of this name at the same moment.
            Environment.objects.lock(environment.pk)
            environment.refresh_from_db(fields=["variables"])
            variable = self.filter(environment=environment, name=name).first()
            is_new = variable is None
            variable = variable or self.model(environment=environment, name=name)
            variable.change(sealed, by)
            variable.full_clean()
            variable.save()
        return is_new


class SecretVariable(models.Model):
    """One variable whose value is write-only here; see docs/secrets.md."""

    environment = models.ForeignKey(
        Environment,
        models.CASCADE,
        related_name="secret_variables",
        verbose_name=_("environment"),
    )
    name = models.CharField(_("name"), max_length=200, validators=[variable_name_validator])
    value = SecretField(_("value"))
    changed_at = MomentField(_("changed at"), default=timezone.now, editable=False)
    changed_by_name = models.CharField(_("changed by"), max_length=200, blank=True, editable=False)

    objects = SecretVariableQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = _("secret variable")
        verbose_name_plural = _("secret variables")
        constraints = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="one_secret_of_a_name_per_environment"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def fingerprint(self) -> str:
        """What tells one value from the next, and nothing of either; blank if it has none."""
        return getattr(self.value, "fingerprint", "")

    def change(self, value: object, by: str, at: datetime | None = None) -> None:
        """Give it another value, a Secret or a Sealed; it is not saved yet."""
        self.value = value  # type: ignore[assignment]
        self.changed_at, self.changed_by_name = at or timezone.now(), by[:200]

    def clean(self) -> None:
        """Raise ValidationError for a name that can't be secret, or is in use."""
        if self.name == SETTINGS_VARIABLE:
            raise ValidationError(
                {"name": _("It is no secret: enter the settings module of the environment.")}
            )
        if self.environment_id and names_in_both(self.environment.variables, [self.name]):
            raise ValidationError({"name": IN_BOTH % {"names": self.name}})
