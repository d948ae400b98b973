"""Who may see and who may deploy what: by a right on all, or on one object.

Rights on single objects come from whatever authentication backend the site has, by
`user.has_perm(permission, object)`.
"""

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.http import HttpRequest

from deploy_manager.models import Deployment, Environment
from deploy_manager.runner import may_deploy

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_VIEW = "deploy_manager.view_environment"
_CHANGE = "deploy_manager.change_environment"
_VIEW_DEPLOYMENT = "deploy_manager.view_deployment"


def may_see(user: "User | AnonymousUser", environment: Environment) -> bool:
    """Whether a user may look at an environment; who may deploy it may."""
    return may_deploy(user, environment) or any(
        user.has_perm(right) or user.has_perm(right, environment) for right in (_VIEW, _CHANGE)
    )


def may_see_deployment(user: "User | AnonymousUser", deployment: Deployment) -> bool:
    """Whether a user may look at a deployment; who may deploy its environment may."""
    return (
        user.has_perm(_VIEW_DEPLOYMENT)
        or user.has_perm(_VIEW_DEPLOYMENT, deployment)
        or may_deploy(user, deployment.environment)
    )


def deployable(request: HttpRequest) -> frozenset[int]:
    """The ids of the environments that the user may deploy; asked once in a request."""
    return _ask_once(request, "_deployable_environments", may_deploy)


def visible(request: HttpRequest) -> frozenset[int]:
    """The ids of the environments that the user may see; asked once in a request."""
    return _ask_once(request, "_visible_environments", may_see)


def visible_environments(
    request: HttpRequest, found: QuerySet[Environment]
) -> QuerySet[Environment]:
    """Leave out what the user may not see."""
    user = request.user
    if user.has_perm(_VIEW) or user.has_perm(_CHANGE):
        return found
    return found.filter(pk__in=visible(request))


def visible_deployments(request: HttpRequest, found: QuerySet[Deployment]) -> QuerySet[Deployment]:
    """Leave out the deployments that the user may not see."""
    if request.user.has_perm(_VIEW_DEPLOYMENT):
        return found
    return found.filter(environment__in=deployable(request))


def _ask_once(request: HttpRequest, name: str, allowed: Any) -> frozenset[int]:
    known: frozenset[int] | None = getattr(request, name, None)
    if known is None:
        environments = Environment.objects.select_related("project")
        known = frozenset(entry.pk for entry in environments if allowed(request.user, entry))
        setattr(request, name, known)
    return known
