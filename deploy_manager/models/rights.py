"""Rights on environments and servers: what they are called, and whether a user has one.

Every engine and page asks `may`. A right is given on all rows, or on a single one by an
authentication backend of the site that knows objects, like django-guardian's.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

    from deploy_manager.models.credentials import Credential
    from deploy_manager.models.environments import Environment
    from deploy_manager.models.inventory import Server


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


def may(
    user: "User | AnonymousUser | Any",
    right: Right,
    row: "Environment | Server | Credential | None",
) -> bool:
    """Whether a user has a right on all rows or on this one; None: on all. Nobody inactive has any.

    A user who is no person of the database, or not logged in, is asked about like any other.
    """
    if not user.is_active:
        return False
    enough = GIVEN_BY.get(right, (right,))
    # Both: Django's ModelBackend answers no for any object, and others may know objects only.
    return any(user.has_perm(each) for each in enough) or (
        row is not None and any(user.has_perm(each, row) for each in enough)
    )


def no_longer(who: object, right: Right, site: "Environment") -> Message:
    """Return the sentence about a right on an environment that somebody lost meanwhile."""
    return Message(NO_LONGER[right], who=who, site=site)
