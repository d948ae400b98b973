"""The page that shows how much is kept of logs, deployments, audit and wheels, and for how long."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.models import AuditEvent

TEMPLATE = "admin/deploy_manager/retention.html"


def retention_view(admin: StyledAdmin[AuditEvent], request: HttpRequest) -> HttpResponse:
    """Show it to those who may see the audit: it counts the rows of all environments."""
    # Not at Django's start: it reads packages' names by a library.
    from deploy_manager.deployments.retention import holdings

    if not admin.has_view_permission(request):
        raise PermissionDenied
    held = holdings()
    nothing_set = all(each.days is None for each in held)
    title = _("How long things are kept")
    return admin.render_page(request, TEMPLATE, title, held=held, nothing_set=nothing_set)
