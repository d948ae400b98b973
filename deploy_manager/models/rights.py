"""Rights on environments and servers: what they are called, and whether a user has one.

Every engine and page asks `may`. A right is given on all rows, or on a single one by an
authentication backend of the site that knows objects, like django-guardian's.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

    from deploy_manager.models.credentials import Credential
    from deploy_manager.models.environments import Environment
    from deploy_manager.models.inventory import Project, Server

    Place: TypeAlias = Environment | Server | Project | Credential


class Right(StrEnum):
    """A permission as Django names it; see docs/rights.md."""

    VIEW = "deploy_manager.view_environment"
    VIEW_LOG = "deploy_manager.view_log_environment"
    DEPLOY = "deploy_manager.deploy_environment"
    ROLL_BACK = "deploy_manager.roll_back_environment"
    RUN_RECIPE = "deploy_manager.run_recipe_environment"
    UPGRADE = "deploy_manager.upgrade_environment"
    APPROVE = "deploy_manager.approve_environment"
    FREEZE = "deploy_manager.freeze_environment"
    CHANGE = "deploy_manager.change_environment"
    CHANGE_SECRETS = "deploy_manager.change_secrets_environment"
    DELETE = "deploy_manager.delete_environment"

    VIEW_SERVER = "deploy_manager.view_server"
    USE_SERVER = "deploy_manager.use_server"
    CHANGE_SERVER = "deploy_manager.change_server"
    DELETE_SERVER = "deploy_manager.delete_server"

    USE_CREDENTIAL = "deploy_manager.use_credential"

    REPORT = "deploy_manager.add_commitstatus"

    @property
    def codename(self) -> str:
        """Its name without that of the app, as rows of permissions have it."""
        return self.partition(".")[2]


ON_ENVIRONMENT = tuple(right for right in Right if right.endswith("_environment"))
ON_SERVER = tuple(right for right in Right if right.endswith("_server"))

GIVEN_BY: dict[Right, tuple[Right, ...]] = {
    Right.VIEW: ON_ENVIRONMENT,
    Right.VIEW_LOG: (Right.VIEW_LOG, Right.DEPLOY),
    Right.VIEW_SERVER: ON_SERVER,
}
"""The rights each of which is enough; any other right is given by no other."""

NO_LONGER = {
    Right.VIEW: _("%(who)s may no longer see %(site)s."),
    Right.DEPLOY: _("%(who)s may no longer deploy %(site)s."),
    Right.ROLL_BACK: _("%(who)s may no longer roll back %(site)s."),
    Right.RUN_RECIPE: _("%(who)s may no longer run recipes on %(site)s."),
    Right.UPGRADE: _("%(who)s may no longer upgrade %(site)s."),
    Right.CHANGE: _("%(who)s may no longer change %(site)s."),
}


@dataclass(frozen=True)
class Limits:
    """What a token lets its user do at most: these rights, and on these rows; None: on all."""

    rights: frozenset[Right]
    environments: frozenset[int] | None = None
    projects: frozenset[int] | None = None
    servers: frozenset[int] | None = None

    def allow(self, enough: "tuple[Right, ...]", row: "Place | None") -> bool:
        """Whether one of these rights is among its own, and a row among its own; None: all are."""
        if self.rights.isdisjoint(enough):
            return False
        if self.environments is None:
            return True
        by_kind = {
            "environment": self.environments,
            "project": self.projects,
            "server": self.servers,
        }
        kind = row._meta.model_name if row is not None else None
        return row is not None and row.pk in (by_kind.get(kind or "") or ())


def limit(user: "User", limits: Limits) -> None:
    """Let `may` allow this user no more than the limits: it is a token's request."""
    setattr(user, _LIMITS, limits)


def is_limited(user: "User | AnonymousUser | Any") -> bool:
    """Whether a user acts by a token, so that rights which `may` is not asked about do not hold."""
    return getattr(user, _LIMITS, None) is not None


_LIMITS = "_deploy_manager_limits"


def may(
    user: "User | AnonymousUser | Any",
    right: Right,
    row: "Place | None",
) -> bool:
    """Whether a user has a right on all rows or on this one; None: on all. Nobody inactive has any.

    A user who is no person of the database, or not logged in, is asked about like any other.
    """
    if not user.is_active:
        return False
    enough = GIVEN_BY.get(right, (right,))
    limits: Limits | None = getattr(user, _LIMITS, None)
    if limits is not None and not limits.allow(enough, row):
        return False
    # Both: Django's ModelBackend answers no for any object, and others may know objects only.
    return any(user.has_perm(each) for each in enough) or (
        row is not None and any(user.has_perm(each, row) for each in enough)
    )


def no_longer(who: object, right: Right, site: "Environment") -> Message:
    """Return the sentence about a right on an environment that somebody lost meanwhile."""
    return Message(NO_LONGER[right], who=who, site=site)
