"""The right to deploy, which every source checks; here, as this imports no engine."""

from typing import TYPE_CHECKING

from deploy_manager.models.environments import Environment

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

PERMISSION = "deploy_manager.deploy_environment"


def may_deploy(user: "User | AnonymousUser", environment: Environment) -> bool:
    """Whether a user may deploy this environment, by a permission on all or on this object."""
    return bool(
        # Both: Django's ModelBackend answers no for any object, and others may know objects only.
        user.is_active and (user.has_perm(PERMISSION) or user.has_perm(PERMISSION, environment))
    )
