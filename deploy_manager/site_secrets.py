"""The secrets of an environment, opened: for the worker only, before any server is touched."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils.translation import gettext_noop as _

from deploy_manager.credentials import source_of
from deploy_manager.exceptions import (
    ConfigurationError,
    DeployManagerError,
    InvalidRow,
    SecretUnreadable,
)
from deploy_manager.logins import InFile
from deploy_manager.masking import SHORTEST
from deploy_manager.messages import Message
from deploy_manager.models import Credential, Environment, OutgoingWebhook, SecretVariable, Tier
from deploy_manager.models.environment_parts import IN_BOTH, names_in_both
from deploy_manager.models.secret_variables import secret_of
from deploy_manager.row_checks import check_row
from deploy_manager.sealing import Sealed, Secret


@dataclass(frozen=True)
class SiteSecrets:
    """What an environment declares secret."""

    variables: Mapping[str, Secret] = field(default_factory=dict)
    tiers: Mapping[int, Secret] = field(default_factory=dict)
    """Passwords of its tiers, by the keys of their rows."""

    logins: frozenset[Secret] = frozenset()
    """What credentials log in with there, as far as it can be opened here: only to be masked."""

    @property
    def all(self) -> frozenset[Secret]:
        return self.logins.union(self.variables.values(), self.tiers.values())


NO_SECRETS = SiteSecrets()


def open_secrets(environment: Environment) -> SiteSecrets:
    """Return the secrets of an environment.

    Raises SecretUnreadable, ConfigurationError or InvalidRow, which name the one that can't be
    used, and what to do.
    """
    variables = {each.name: _open_variable(each) for each in environment.secret_variables.all()}
    if both := names_in_both(environment.variables, variables):
        raise InvalidRow(Message(IN_BOTH, names=", ".join(both)))
    tiers = {
        tier.pk: _open_tier(tier) for tier in environment.tiers.all() if tier.secret is not None
    }
    return SiteSecrets(variables, tiers, _open_logins(environment))


def _open_logins(environment: Environment) -> frozenset[Secret]:
    """Return the secrets of credentials that work on an environment may use.

    Those that a command prints are left out: it would be run once more each time. They are masked
    from the moment that they are used; see logins.FromCommand.
    """
    found = Credential.objects.filter(
        Q(environment=None) | Q(environment=environment),
        Q(project=None) | Q(project=environment.project_id),
        Q(server=None) | Q(server__placements__environment=environment),
    ).exclude(source=Credential.Source.COMMAND)
    opened = set()
    for row in found.distinct():
        for source in (source_of(row), row.passphrase):
            # What can't be opened is said where it is used: here nothing is logged in to.
            with suppress(DeployManagerError):
                secret = source.open() if isinstance(source, (InFile, Sealed)) else source
                if isinstance(secret, Secret) and len(secret.value.strip()) >= SHORTEST:
                    opened.add(secret)
    return frozenset(opened)


def known_secrets(environment: Environment) -> frozenset[Secret]:
    """Return those that can be opened here, to mask what is written down about it."""
    try:
        return open_secrets(environment).all
    except DeployManagerError:
        return frozenset()


def unopened_secrets(environment: Environment) -> SiteSecrets:
    """Return the same with the mask in place of each value, for what only looks."""
    masked = Secret("[masked]")
    return SiteSecrets(
        {each.name: masked for each in environment.secret_variables.all()},
        {tier.pk: masked for tier in environment.tiers.all() if tier.secret is not None},
    )


def why_unreadable(environment: Environment) -> list[Message]:
    """Return what is wrong with each secret of an environment that can't be used here."""
    problems = []
    tiers = (tier for tier in environment.tiers.all() if tier.secret is not None)
    for row in (*environment.secret_variables.all(), *tiers):
        try:
            _open_variable(row) if isinstance(row, SecretVariable) else _open_tier(row)
        except DeployManagerError as error:
            problems.append(error.message)
    return problems


def open_webhook(webhook: OutgoingWebhook) -> Secret:
    """Return what an outgoing webhook signs or logs in with.

    Raises SecretUnreadable, ConfigurationError.
    """
    what = Message(_("the secret of the webhook %(name)s"), name=webhook.name)
    if webhook.secret is None:
        raise SecretUnreadable(_("%(what)s has no value: enter it."), what=what)
    return _open(webhook.secret, what)


def _open_tier(tier: Tier) -> Secret:
    what = Message(_("the password of the tier %(name)s"), name=tier)
    if tier.secret is None:
        raise SecretUnreadable(_("%(what)s has no value: enter it."), what=what)
    return _open(tier.secret, what)


def _open_variable(variable: SecretVariable) -> Secret:
    check_row(variable)
    what = Message(_("the secret variable %(name)s"), name=variable.name)
    if variable.value is None:
        raise SecretUnreadable(_("%(what)s has no value: enter it."), what=what)
    secret = _open(variable.value, what)
    try:
        # Whoever wrote the row may not have asked.
        return secret_of(secret.value)
    except ValidationError as error:
        raise InvalidRow("%(what)s: %(why)s", what=what, why=" ".join(error.messages)) from None


def _open(sealed: Sealed | Secret, what: Message) -> Secret:
    if isinstance(sealed, Secret):  # of a row that was written just now, and not read again
        return sealed
    try:
        return sealed.open()
    except SecretUnreadable as error:
        raise SecretUnreadable(
            _("%(what)s can't be opened: %(why)s"), what=what, why=error.message
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(
            _("%(what)s can't be opened: %(why)s"), what=what, why=error.message
        ) from None
