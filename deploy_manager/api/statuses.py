"""Commit statuses: what a CI says of a commit, which environments may demand."""

from datetime import timedelta
from typing import Annotated, Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Query, Router

from deploy_manager import dispatch
from deploy_manager.api import shapes
from deploy_manager.api.access import find, need, token_of, user_of
from deploy_manager.api.answers import created
from deploy_manager.api.problems import InvalidValueError
from deploy_manager.deployments.as_json import iso
from deploy_manager.models import CommitStatus, Project
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import is_visible, visible

router = Router(tags=["statuses"])

CLOCKS_DIFFER = timedelta(minutes=5)


@router.post("/statuses", response={201: shapes.StatusReported}, operation_id="report_status")
def report_status(request: HttpRequest, said: shapes.StatusIn) -> HttpResponse:
    """Report the state of a check; what waited for it begins. A later word wins."""
    if said.at and said.at > timezone.now() + CLOCKS_DIFFER:
        # It would win over every word that is said until then.
        raise InvalidValueError("at", _("That time has not come yet."))
    project = _project(request, said.project)
    need(request, Right.REPORT, project)
    is_news = dispatch.report_status(
        project,
        said.commit,
        said.context,
        said.state,
        at=said.at,
        description=said.description,
        url=said.url,
        reported_by_name=token_of(request).acts_as,
    )
    row = CommitStatus.objects.get(project=project, commit=said.commit, context=said.context)
    return created(_facts(row) | {"taken": is_news})


def _project(request: HttpRequest, name: str) -> Project:
    """Return a project that may be seen, or reported about. Raises Http404."""
    project = Project.objects.filter(name=name).first()
    if project is None:
        raise Http404
    if not (may(user_of(request), Right.REPORT, project) or is_visible(request, project)):
        raise Http404
    return project


@router.get("/statuses", response=list[shapes.StatusOut], operation_id="list_statuses")
def list_statuses(
    request: HttpRequest,
    project: Annotated[str, Query(min_length=1, max_length=50, pattern=shapes.NO_NUL)],
    commit: Annotated[str, Query(max_length=64, pattern=r"^[0-9a-f]*$")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[dict[str, Any]]:
    """List the checks of a project's commits, the newest word first."""
    of = find(request, Project.objects.all(), name=project)
    found = visible(request, CommitStatus.objects.filter(project=of)).select_related("project")
    if commit:
        found = found.filter(commit__startswith=commit)
    return [_facts(each) for each in found.order_by("-at", "-pk")[:limit]]


def _facts(row: CommitStatus) -> dict[str, Any]:
    return {
        "project": row.project.name,
        "commit": row.commit,
        "context": row.context,
        "state": row.state,
        "description": row.description,
        "url": row.url,
        "at": iso(row.at),
        "reported_by": row.reported_by_name,
    }
