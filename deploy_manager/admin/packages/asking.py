"""Asking servers once more what they have installed: they become due, and a worker is told."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import ngettext

from deploy_manager import dispatch
from deploy_manager.admin.addresses import LONGEST_ID
from deploy_manager.admin.permissions import visible_environments
from deploy_manager.models import Environment, Placement
from deploy_manager.models.rights import may_deploy
from deploy_manager.packages.gathering import ask_servers

MATRIX = "admin:deploy_manager_installedpackage_changelist"


def look_again_view(request: HttpRequest) -> HttpResponse:
    """Have one server, or all of an environment, asked; lead back to the page it was pressed on.

    Raises PermissionDenied where the user may not deploy them.
    """
    placements = _find(request)
    found = Environment.objects.filter(placements__in=placements).distinct()
    environments = list(visible_environments(request, found).select_related("project"))
    if not environments or not all(may_deploy(request.user, each) for each in environments):
        raise PermissionDenied
    _ask(request, placements.filter(environment__in=environments))
    return HttpResponseRedirect(_back_url(request))


def _find(request: HttpRequest) -> QuerySet[Placement]:
    placement, environment = (_number(request, name) for name in ("placement", "environment"))
    if placement is not None:
        return Placement.objects.filter(pk=placement)
    return Placement.objects.filter(environment=environment)


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.POST.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= LONGEST_ID else None


def _ask(request: HttpRequest, placements: QuerySet[Placement]) -> None:
    """Make servers due and wake a worker; the reconcile loop wakes one later if none could be."""
    ids = list(placements.values_list("pk", flat=True))
    asked = Placement.objects.filter(pk__in=ids)
    asked.update(inventory_tried_at=None)
    ask_servers(dispatch.GATHERERS)
    waiting = asked.filter(inventory_tried_at=None).count()
    if told := len(ids) - waiting:
        text = ngettext(
            "%(count)d server is being asked: reload the page in a moment.",
            "%(count)d servers are being asked: reload the page in a moment.",
            told,
        )
        messages.success(request, text % {"count": told})
    if waiting:
        text = ngettext(
            "%(count)d server is to be asked as soon as a worker can be told.",
            "%(count)d servers are to be asked as soon as a worker can be told.",
            waiting,
        )
        messages.warning(request, text % {"count": waiting})


def _back_url(request: HttpRequest) -> str:
    address = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        address, {request.get_host()}, require_https=request.is_secure()
    )
    return address if is_ours else reverse(MATRIX)
