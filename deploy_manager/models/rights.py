"""Who may deploy what: asked by every source, so it stands where no engine has to be imported."""

from typing import TYPE_CHECKING

from deploy_manager.models.environments import Environment

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

PERMISSION = "deploy_manager.deploy_environment"


def may_deploy(user: "User | AnonymousUser", environment: Environment) -> bool:
    """Whether a user may deploy this environment: by a right on all, or on this one object."""
    return bool(
        user.is_active and (user.has_perm(PERMISSION) or user.has_perm(PERMISSION, environment))
    )
