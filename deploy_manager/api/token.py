"""Whether the manager is there, and what a token may do."""

from typing import Any

from django.db import connection
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from ninja import Router
from ninja.errors import AuthenticationError

import deploy_manager
from deploy_manager.api import shapes
from deploy_manager.api.access import TokenAuth, token_of
from deploy_manager.models import Deployment, Problem, State
from deploy_manager.visibility import sees_all, visible

router = Router(tags=["manager"])


@router.get(
    "/health",
    response=shapes.Health,
    auth=None,
    throttle=[],
    exclude_unset=True,
    operation_id="health",
)
def health(request: HttpRequest) -> dict[str, Any]:
    """Tell whether the manager and its database are there. It needs no token.

    With one it counts what is under way, of what that may see.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    told = {"status": "ok", "version": deploy_manager.__version__}
    if "Authorization" not in request.headers:
        return told
    if TokenAuth()(request) is None:
        raise AuthenticationError
    return told | _counts(request)


def _counts(request: HttpRequest) -> dict[str, int]:
    deployments = visible(request, Deployment.objects.order_by())
    states = (State.QUEUED, State.RUNNING, State.WAITING)
    counts: dict[str, int] = deployments.aggregate(
        **{state.value: Count("pk", filter=Q(state=state)) for state in states}
    )
    problems: QuerySet[Problem] = Problem.objects.all()
    if not sees_all(request):
        problems = visible(request, problems.exclude(environment=None))
    return counts | {"problems": problems.count()}


@router.get("/me", response=shapes.Me, operation_id="me")
def me(request: HttpRequest) -> dict[str, Any]:
    """Show the token that was sent: whose it is, and what it may do."""
    token = token_of(request)
    sites = token.environments.select_related("project").order_by("project__name", "name")
    return {
        "token": token.name,
        "user": str(token.user),
        "scopes": token.scopes,
        "environments": [str(each) for each in sites] if token.is_limited else None,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }
