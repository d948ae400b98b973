"""Permissions to see and to deploy environments, on all of them or on single ones.

Permissions on single objects come from the authentication backends of the site, by
`user.has_perm(permission, object)`.
"""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from deploy_manager.deployments.allowed import APPROVE, may_approve
from deploy_manager.models import Deployment, Environment
from deploy_manager.models.rights import may_deploy

_VIEW = "deploy_manager.view_environment"
_CHANGE = "deploy_manager.change_environment"
_DEPLOY = "deploy_manager.deploy_environment"
_VIEW_DEPLOYMENT = "deploy_manager.view_deployment"


def may_see(user: Any, environment: Environment) -> bool:
    """Return whether a user may see an environment; everyone who may deploy it may."""
    return (
        may_deploy(user, environment)
        or may_approve(user, environment)
        or any(
            user.has_perm(right) or user.has_perm(right, environment) for right in (_VIEW, _CHANGE)
        )
    )


def may_see_deployment(user: Any, deployment: Deployment) -> bool:
    """Return whether a user may see a deployment; everyone who may deploy its environment may."""
    return (
        user.has_perm(_VIEW_DEPLOYMENT)
        or user.has_perm(_VIEW_DEPLOYMENT, deployment)
        or may_deploy(user, deployment.environment)
        or may_approve(user, deployment.environment)
    )


def may_deploy_any(request: HttpRequest) -> bool:
    """Return whether the user may deploy any environment, or could if there were one."""
    return request.user.has_perm(_DEPLOY) or bool(_deployable(request))


def may_see_any(request: HttpRequest) -> bool:
    """Return whether the user may see any environment, or could if there were one."""
    return _sees_all(request) or bool(_visible(request))


def visible_environments(
    request: HttpRequest, found: QuerySet[Environment]
) -> QuerySet[Environment]:
    """Return the environments that the user may see."""
    return found if _sees_all(request) else found.filter(pk__in=_visible(request))


def visible_deployments(request: HttpRequest, found: QuerySet[Deployment]) -> QuerySet[Deployment]:
    """Return all deployments with a permission on all, else those to deploy or to approve."""
    user = request.user
    if any(map(user.has_perm, (_VIEW_DEPLOYMENT, _DEPLOY, APPROVE))):
        return found
    return found.filter(environment__in=_deployable(request) | _approvable(request))


def may_approve_any(request: HttpRequest) -> bool:
    """Return whether the user may decide about deployments anywhere."""
    return request.user.has_perm(APPROVE) or bool(_approvable(request))


def _sees_all(request: HttpRequest) -> bool:
    return any(request.user.has_perm(right) for right in (_VIEW, _CHANGE, _DEPLOY))


def _deployable(request: HttpRequest) -> frozenset[int]:
    return _ask_once(request, "_deployable_environments", may_deploy)


def _approvable(request: HttpRequest) -> frozenset[int]:
    return _ask_once(request, "_approvable_environments", may_approve)


def _visible(request: HttpRequest) -> frozenset[int]:
    return _ask_once(request, "_visible_environments", may_see)


def _ask_once(
    request: HttpRequest, name: str, allowed: Callable[[Any, Environment], bool]
) -> frozenset[int]:
    """Return the ids of the environments that `allowed` accepts, computed once per request."""
    known: frozenset[int] | None = getattr(request, name, None)
    if known is None:
        # No query can ask the backends: every environment is passed to them.
        environments = Environment.objects.select_related("project")
        known = frozenset(entry.pk for entry in environments if allowed(request.user, entry))
        setattr(request, name, known)
    return known
