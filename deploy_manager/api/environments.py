"""Environments and servers: what serves, and what is under way."""

from collections.abc import Iterable
from typing import Annotated, Any

from django.db.models import Max, Prefetch, Q, QuerySet
from django.http import HttpRequest
from ninja import Path, Router

from deploy_manager.api import shapes
from deploy_manager.api.access import find, find_environment
from deploy_manager.api.deployments import page_of
from deploy_manager.models import Deployment, Environment, Freeze, Placement, Server
from deploy_manager.models.serving import most_served
from deploy_manager.models.shapes import texts_in
from deploy_manager.models.states import BUSY
from deploy_manager.visibility import visible

router = Router(tags=["environments"])

Part = Annotated[shapes.Name, Path()]


@router.get("/environments", response=list[shapes.EnvironmentOut], operation_id="list_environments")
def list_environments(request: HttpRequest) -> list[dict[str, Any]]:
    """List the environments that the token may see."""
    return list(_described(request, visible(request, Environment.objects.all())))


@router.get(
    "/environments/{project}/{name}",
    response=shapes.EnvironmentOut,
    operation_id="get_environment",
)
def get_environment(request: HttpRequest, project: Part, name: Part) -> dict[str, Any]:
    """Show what an environment serves, and what is under way on it."""
    found = find_environment(request, f"{project}/{name}")
    return next(iter(_described(request, Environment.objects.filter(pk=found.pk))))


def _described(request: HttpRequest, found: QuerySet[Environment]) -> Iterable[dict[str, Any]]:
    """Yield environments in as many queries for one as for a thousand."""
    placements = Placement.objects.select_related("server", "active_release")
    rows = found.select_related("project", "promotes_from__project").prefetch_related(
        Prefetch("placements", placements),
        Prefetch("freezes", Freeze.objects.open(), to_attr="open_freezes"),
    )
    rows = rows.annotate(
        last=Max("deployments"),
        live=Max("deployments", filter=Q(deployments__state__in=BUSY)),
    )
    environments = list(rows.order_by("project__name", "name"))
    keys = {key for each in environments for key in (each.last, each.live) if key}
    deployments = Deployment.objects.in_bulk(keys)
    for each in environments:
        yield _facts(request, each, deployments)


def _facts(
    request: HttpRequest, environment: Any, deployments: dict[int, Deployment]
) -> dict[str, Any]:
    places = environment.placements.all()
    serving = most_served(places)
    source = environment.promotes_from
    return {
        "environment": str(environment),
        "ref": environment.ref,
        "commit": serving.commit if serving else "",
        "release": serving.name if serving else "",
        "subject": serving.subject if serving else "",
        "servers": [
            {
                "server": place.server.name,
                "release": place.active_release.name if place.active_release else "",
                "commit": place.active_release.commit if place.active_release else "",
                "bad": bool(place.active_release and place.active_release.bad_since),
            }
            for place in places
        ],
        "last_deployment": _brief(request, deployments.get(environment.last)),
        "live_deployment": _brief(request, deployments.get(environment.live)),
        "frozen": str(environment.describe_freeze()),
        "promotes_from": str(source) if source else "",
        "required_statuses": texts_in(environment.required_statuses),
        "approvals_needed": environment.approvals_needed,
    }


def _brief(request: HttpRequest, deployment: Deployment | None) -> dict[str, Any] | None:
    if deployment is None:
        return None
    return {
        "number": deployment.pk,
        "recipe": deployment.recipe,
        "state": deployment.state,
        "url": page_of(request, "deployment", deployment.pk),
    }


@router.get("/servers", response=list[shapes.ServerOut], operation_id="list_servers")
def list_servers(request: HttpRequest) -> list[dict[str, Any]]:
    """List the servers that the token may see."""
    return _servers(request, visible(request, Server.objects.all()))


@router.get("/servers/{name}", response=shapes.ServerOut, operation_id="get_server")
def get_server(request: HttpRequest, name: Part) -> dict[str, Any]:
    """Show a server, and what it serves."""
    found = find(request, Server.objects.all(), name=name)
    return _servers(request, Server.objects.filter(pk=found.pk))[0]


def _servers(request: HttpRequest, found: QuerySet[Server]) -> list[dict[str, Any]]:
    sites = visible(request, Environment.objects.order_by())
    places = Placement.objects.filter(environment__in=sites).order_by(
        "environment__project__name", "environment__name"
    )
    places = places.select_related("environment__project", "active_release")
    return [
        {
            "server": each.name,
            "connection": each.connection,
            "address": each.address,
            "port": each.port,
            "environments": [
                {
                    "environment": str(place.environment),
                    "release": place.active_release.name if place.active_release else "",
                    "commit": place.active_release.commit if place.active_release else "",
                }
                for place in each.placements.all()
            ],
        }
        for each in found.order_by("name").prefetch_related(Prefetch("placements", places))
    ]
