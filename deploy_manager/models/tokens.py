"""Tokens of the API: whoever has one acts for its user, within what the token allows."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from deploy_manager.models.environments import Environment
from deploy_manager.models.moments import MomentField
from deploy_manager.models.rights import Limits, Right

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PREFIX = "dm_"
"""Scanners that look for leaked secrets find ours by it."""

SHOWN_LETTERS = 8
NOTED_EVERY = timedelta(minutes=1)
"""A token that polls must not write its row with each request."""

LONGEST = 100
"""Characters of a token at most: no more of a header is hashed."""


class Scope(models.TextChoices):
    """What a token may be used for, each by a right of its user."""

    VIEW = "view", _("see environments, servers, packages and deployments")
    VIEW_LOG = "view_log", _("read logs")
    DEPLOY = "deploy", _("deploy, promote, converge")
    ROLL_BACK = "roll_back", _("roll back")
    RUN_RECIPE = "run_recipe", _("run recipes")
    UPGRADE = "upgrade", _("upgrade packages")
    APPROVE = "approve", _("approve deployments")
    REPORT = "report", _("report the states of commits")
    BREAK_GLASS = "break_glass", _("break glass: go without approvals, order and checks")


RIGHTS_OF: dict[str, tuple[Right, ...]] = {
    Scope.VIEW: (Right.VIEW, Right.VIEW_SERVER),
    Scope.VIEW_LOG: (Right.VIEW_LOG,),
    Scope.DEPLOY: (Right.DEPLOY,),
    Scope.ROLL_BACK: (Right.ROLL_BACK,),
    Scope.RUN_RECIPE: (Right.RUN_RECIPE,),
    Scope.UPGRADE: (Right.UPGRADE,),
    Scope.APPROVE: (Right.APPROVE,),
    Scope.REPORT: (Right.REPORT,),
    # Beside the right to what is run: a token of a CI that leaks must not open every gate.
    Scope.BREAK_GLASS: (),
}


def validate_scopes(value: object) -> None:
    """Take a JSON list of scopes that is not empty. Raises ValidationError."""
    known = list(Scope.values)
    if not isinstance(value, list) or not value or any(each not in known for each in value):
        raise ValidationError(
            _("Enter a JSON list of some of these: %(known)s."), params={"known": ", ".join(known)}
        )


def digest_of(secret: str) -> str:
    """Return what is stored of a token.

    A plain hash is enough: nobody guesses 256 random bits, so there is nothing to slow down.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenQuerySet(models.QuerySet["Token"]):
    def issue(
        self, user: "User", environments: Sequence[Environment] = (), **fields: Any
    ) -> "tuple[Token, str]":
        """Write a token of a user; return it, and its secret, which nobody can read again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        hint = secret[: len(PREFIX) + SHOWN_LETTERS]
        token = self.model(user=user, digest=digest_of(secret), hint=hint, **fields)
        token.full_clean(exclude=["digest"])
        token.is_limited = bool(environments)
        token.save()
        token.environments.set(environments)
        return token, secret

    def usable(self) -> "TokenQuerySet":
        """Tokens that are neither revoked nor expired, of users who are active."""
        now = timezone.now()
        in_time = Q(expires_at=None) | Q(expires_at__gt=now)
        return self.filter(in_time, revoked_at=None, user__is_active=True)

    def find(self, secret: str) -> "Token | None":
        """Return the usable token with this secret; None: there is none."""
        if len(secret) > LONGEST:
            return None
        digest = digest_of(secret)
        found = self.usable().filter(digest=digest).select_related("user").first()
        return found if found and hmac.compare_digest(found.digest, digest) else None


class Token(models.Model):
    """A secret by which programs act for a user: only its hash is stored."""

    name = models.CharField(
        _("name"), max_length=100, help_text=_("Where it is used: GitHub Actions of shop.")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="deploy_manager_tokens",
        verbose_name=_("user"),
    )
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    hint = models.CharField(
        _("begins with"), max_length=20, editable=False, help_text=_("To know it again.")
    )
    scopes = models.JSONField(_("scopes"), validators=[validate_scopes])
    # Not the absence of rows: of a token for one environment, which is deleted, none would be left.
    is_limited = models.BooleanField(_("limited"), default=False, editable=False)
    environments = models.ManyToManyField(
        Environment,
        related_name="tokens",
        blank=True,
        verbose_name=_("environments"),
        help_text=_("It is good for these only. None: for all that its user may."),
    )
    created_at = MomentField(_("created"), default=timezone.now, editable=False)
    expires_at = MomentField(_("expires"), null=True, blank=True, help_text=_("Blank: never."))
    last_used_at = MomentField(_("last used"), null=True, blank=True, editable=False)
    last_used_from = models.CharField(_("from"), max_length=45, blank=True, editable=False)
    revoked_at = MomentField(_("revoked"), null=True, blank=True, editable=False)
    revoked_by_name = models.CharField(_("revoked by"), max_length=200, blank=True, editable=False)

    objects = TokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("token")
        verbose_name_plural = _("tokens")

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @property
    def is_usable(self) -> bool:
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired

    @property
    def acts_as(self) -> str:
        """Who asks for something, as histories show it."""
        return f"{self.user} (token {self.name})"[:200]

    def limits(self) -> Limits:
        """Return what may be done with it, at most."""
        rights = {right for scope in self.scopes for right in RIGHTS_OF.get(scope, ())}
        if not self.is_limited:
            return Limits(frozenset(rights))
        places = self.environments.values_list("pk", "project", "servers")
        found = list(places)
        return Limits(
            frozenset(rights),
            environments=frozenset(pk for pk, _project, _server in found),
            projects=frozenset(project for _pk, project, _server in found),
            servers=frozenset(server for _pk, _project, server in found if server),
        )

    def note_use(self, address: str) -> None:
        """Note when and from where it was used last."""
        now, known = timezone.now(), self.last_used_at
        if known and known > now - NOTED_EVERY and self.last_used_from == address[:45]:
            return
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - NOTED_EVERY)
        mine = Token.objects.filter(stale | ~Q(last_used_from=address[:45]), pk=self.pk)
        mine.update(last_used_at=now, last_used_from=address[:45])

    def revoke(self, by: str) -> bool:
        """End it at once; False if that was done before. What it requested does not begin."""
        mine = Token.objects.filter(pk=self.pk, revoked_at=None)
        return bool(mine.update(revoked_at=timezone.now(), revoked_by_name=by[:200]))


class IdempotencyKey(models.Model):
    """The answer to a request that a program may send again, since it did not get the answer."""

    token = models.ForeignKey(Token, models.CASCADE, related_name="keys", verbose_name=_("token"))
    key = models.CharField(_("key"), max_length=200)
    request = models.CharField(
        _("request"), max_length=64, help_text=_("The hash of the path and the body.")
    )
    # Null until it is answered, in the transaction that writes what was requested.
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    answer = models.JSONField(_("answer"), null=True)
    created_at = MomentField(_("created"), default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        default_permissions = ()
        constraints = [
            # Of two requests at the same moment the second insert waits, and fails.
            models.UniqueConstraint(fields=["token", "key"], name="one_answer_per_key"),
        ]

    def __str__(self) -> str:
        return self.key
