"""The right to deploy, which every source checks; here, as this imports no engine."""

from typing import TYPE_CHECKING

from deploy_manager.models.credentials import Credential
from deploy_manager.models.environments import Environment
from deploy_manager.models.inventory import Server

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

PERMISSION = "deploy_manager.deploy_environment"
USE_CREDENTIAL = "deploy_manager.use_credential"
CHANGE_SERVER = "deploy_manager.change_server"


def may_deploy(user: "User | AnonymousUser", environment: Environment) -> bool:
    """Whether a user may deploy this environment, by a permission on all or on this object."""
    return bool(
        # Both: Django's ModelBackend answers no for any object, and others may know objects only.
        user.is_active and (user.has_perm(PERMISSION) or user.has_perm(PERMISSION, environment))
    )


def may_use(user: "User | AnonymousUser", credential: Credential) -> bool:
    """Whether a user may attach this credential to what it is used for."""
    return bool(
        user.is_active
        and (user.has_perm(USE_CREDENTIAL) or user.has_perm(USE_CREDENTIAL, credential))
    )


def may_provision(user: "User | AnonymousUser", server: Server) -> bool:
    """Whether a user may provision this server, beside the right to deploy its environment."""
    return bool(
        user.is_active and (user.has_perm(CHANGE_SERVER) or user.has_perm(CHANGE_SERVER, server))
    )
