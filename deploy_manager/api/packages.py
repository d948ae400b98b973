"""Packages: who runs a version, and what is known to be vulnerable."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router
from packaging.utils import canonicalize_name

from deploy_manager.api import shapes
from deploy_manager.api.access import find_environment
from deploy_manager.api.problems import InvalidValueError
from deploy_manager.exceptions import PinError
from deploy_manager.messages import in_words
from deploy_manager.models import Environment, Requirement
from deploy_manager.packages.as_json import (
    exposure_as_json,
    place_as_json,
    running_as_json,
    unknown_as_json,
    unseen_as_json,
)
from deploy_manager.packages.exposure import (
    parse_bounds,
    unknown_versions,
    unseen,
    vulnerable_packages,
    who_runs,
)
from deploy_manager.visibility import visible

router = Router(tags=["packages"])

Spec = Annotated[
    str,
    Query(
        max_length=200,
        pattern=shapes.NO_NUL,
        description="A package and versions, like django<5.2.8; instead of `name`.",
    ),
]
PackageName = Annotated[
    str, Query(max_length=100, pattern=r"^[A-Za-z0-9._-]*$", description="Like django.")
]
Below = Annotated[
    str, Query(max_length=50, pattern=r"^[A-Za-z0-9.!+_-]*$", description="Like 5.2.8.")
]
Only = Annotated[shapes.Site | None, Query(description="Of this environment only.")]


@router.get("/packages", response=shapes.WhoRunsOut, operation_id="who_runs")
def list_who_runs(
    request: HttpRequest,
    spec: Spec = "",
    name: PackageName = "",
    below: Below = "",
    environment: Only = None,
) -> dict[str, Any]:
    """Tell which servers run a package, in which version, as they were last asked."""
    asked = spec or (f"{name}<{below}" if name and below else name)
    if not asked:
        raise InvalidValueError("spec", "Name a package: ?spec=django<5.2.8", place="query")
    try:
        wanted = parse_bounds(asked)
    except PinError as error:
        raise InvalidValueError("spec", str(error), place="query") from None
    sites = _sites(request, environment)
    running = who_runs(str(wanted), sites)
    pinned = _pinned(sites, wanted.name)
    return {
        "spec": str(wanted),
        "runs": [
            running_as_json(each, is_comparable=is_comparable)
            | {"pinned": pinned.get(each.placement.environment_id, "")}
            for is_comparable, rows in ((True, running.found), (False, running.unordered))
            for each in rows
        ],
        "unseen": [place_as_json(each) for each in running.unseen],
    }


def _pinned(sites: list[Environment], name: str) -> dict[int, str]:
    """Return the version that each environment lists."""
    rows = Requirement.objects.filter(environment__in=sites, name=canonicalize_name(name))
    return dict(rows.values_list("environment", "version"))


@router.get("/advisories", response=shapes.AdvisoriesOut, operation_id="list_advisories")
def list_advisories(request: HttpRequest, environment: Only = None) -> dict[str, Any]:
    """List what is vulnerable, what is not known, and the servers that were not asked."""
    sites = _sites(request, environment)
    keys = {each.pk for each in sites}
    one = sites[0] if environment else None
    return {
        "vulnerable": [
            in_words(exposure_as_json(each))
            for each in vulnerable_packages(one)
            if each.environment.pk in keys
        ],
        "unknown": [
            in_words(unknown_as_json(each))
            for each in unknown_versions(one)
            if each.environment.pk in keys
        ],
        "unseen": [in_words(unseen_as_json(each)) for each in unseen(sites)],
    }


def _sites(request: HttpRequest, environment: str | None) -> list[Environment]:
    if environment:
        return [find_environment(request, environment)]
    return list(visible(request, Environment.objects.select_related("project")))
