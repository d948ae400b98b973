"""The matrix of servers and packages: installed versions, what is wrong with them, "Look again"."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from deploy_manager.admin.addresses import read_id
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.models import Environment, InstalledPackage, Placement
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import may_on_any, visible

TEMPLATE = "admin/deploy_manager/installedpackage/matrix.html"
MATRIX = "admin:deploy_manager_installedpackage_changelist"


@admin.register(InstalledPackage)
class InstalledPackageAdmin(HistoryAdmin[InstalledPackage]):
    """Its list is the matrix; a single row has no page, as it would show nothing more."""

    class Media:
        css = {"all": ["deploy_manager/packages.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let users see the packages of the environments that they may see."""
        return obj is None and may_on_any(request, Right.VIEW)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.look_again_view)
        name = "deploy_manager_installedpackage_look_again"
        return [path("look-again/", view, name=name), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from deploy_manager.admin.packages.page import make_context

        if not self.has_view_permission(request):
            raise PermissionDenied
        found = visible(request, Environment.objects.select_related("project"))
        context = make_context(request, list(found)) | (extra_context or {})
        return self.render_page(request, TEMPLATE, _("Packages on servers"), **context)

    @method_decorator(require_POST)
    def look_again_view(self, request: HttpRequest) -> HttpResponse:
        """Ask one server, or all of an environment, what is installed; redirect back.

        Raises PermissionDenied unless the user may deploy the environment.
        """
        placements = Placement.objects.all()
        if (placement := read_id(request.POST.get("placement", ""))) is not None:
            placements = placements.filter(pk=placement)
        else:
            environment = read_id(request.POST.get("environment", ""))
            placements = placements.filter(environment=environment)
        found = Environment.objects.filter(placements__in=placements).distinct()
        environments = list(visible(request, found).select_related("project"))
        if not environments or not all(
            may(request.user, Right.DEPLOY, each) for each in environments
        ):
            raise PermissionDenied
        _ask(request, placements.filter(environment__in=environments))
        address = request.POST.get("next", "")
        is_ours = url_has_allowed_host_and_scheme(
            address, {request.get_host()}, require_https=request.is_secure()
        )
        return HttpResponseRedirect(address if is_ours else reverse(MATRIX))


def _ask(request: HttpRequest, placements: QuerySet[Placement]) -> None:
    """Make servers due and wake workers; if that fails, the reconcile loop does so later."""
    from deploy_manager import dispatch
    from deploy_manager.packages.gathering import ask_servers

    # By id: the queryset itself may not match them any more once they are updated.
    ids = list(placements.values_list("pk", flat=True))
    asked = Placement.objects.filter(pk__in=ids)
    asked.update(inventory_tried_at=None)
    ask_servers(dispatch.GATHERERS)
    # Still blank: no message could be sent to the broker.
    waiting = asked.filter(inventory_tried_at=None).count()
    if sent := len(ids) - waiting:
        text = ngettext(
            "%(count)d server is being asked: reload the page in a moment.",
            "%(count)d servers are being asked: reload the page in a moment.",
            sent,
        )
        messages.success(request, text % {"count": sent})
    if waiting:
        text = ngettext(
            "%(count)d server will be asked as soon as a worker can be reached.",
            "%(count)d servers will be asked as soon as a worker can be reached.",
            waiting,
        )
        messages.warning(request, text % {"count": waiting})
