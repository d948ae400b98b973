"""The button that retries a deployment on the servers where it did not succeed."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager import dispatch
from deploy_manager.admin.addresses import deployment_url
from deploy_manager.admin.badges import deployment_link
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.confirming import changes_of, describe_for, why_changed
from deploy_manager.deployments.request import DeploymentOptions, choose_placements
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.models import Deployment
from deploy_manager.models.deployments import ROLLBACK, right_to
from deploy_manager.models.rights import may
from deploy_manager.packages.downgrades import changed_pins, confirmed_in, describe_unconfirmed
from deploy_manager.packages.pins import pins_in

CHANGED_PAGE = "admin/deploy_manager/deployment/retry.html"


def retry_label(deployment: Deployment) -> str:
    """Return the button's text; blank if there is nothing to retry."""
    if deployment.is_live:
        return ""
    try:
        servers = set(retry(deployment)[1].servers)
    except RequestRefused:
        return ""
    text = ngettext("Retry on %(count)d server", "Retry on %(count)d servers", len(servers))
    return text % {"count": len(servers)}


def retry_view(
    admin: StyledAdmin[Deployment], request: HttpRequest, deployment: Deployment
) -> HttpResponse:
    """Request it again for the servers where it did not succeed, or show why that is refused.

    What was changed since it was requested is shown first, and requested as it was shown.
    """
    if not may(request.user, right_to(deployment.recipe), deployment.environment):
        raise PermissionDenied
    if changes := changes_of(deployment):
        agreed = describe_for(deployment).digest
        if request.POST.get("agreed") != agreed:
            return admin.render_page(
                request,
                CHANGED_PAGE,
                _("Retry"),
                subtitle=str(deployment),
                original=deployment,
                agreed=agreed,
                changed=why_changed(changes, deployment.plan),
            )
    try:
        recipe, options = retry(deployment)
        _refuse_to_take_back(deployment, recipe, options)
        again = dispatch.request(
            deployment.environment,
            recipe,
            source="admin",
            requested_by_name=str(request.user),
            user=request.user,
            options=options,
        )
    except DeployManagerError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(deployment_url(deployment.pk))
    admin.log_addition(request, again, _("Requested."))
    messages.success(request, format_html(_("{} was requested."), deployment_link(again)))
    if options.left:
        text = _("Left out, as they are no longer in the environment: %(servers)s.")
        messages.warning(request, text % {"servers": ", ".join(options.left)})
    return HttpResponseRedirect(deployment_url(again.pk))


def _refuse_to_take_back(deployment: Deployment, recipe: str, options: DeploymentOptions) -> None:
    """Refuse to take back what an upgrade brought since: a button asks for no consent."""
    if options.release is None or recipe == ROLLBACK:
        return
    # What was confirmed for the first attempt is still confirmed; the rest came since.
    environment, confirmed = deployment.environment, confirmed_in(list(options.take_back))
    placements = choose_placements(environment, options.servers)
    changes = changed_pins(environment, pins_in(options.release.lock.text), placements)
    if more := [pin for pin in changes if pin.is_taken_back and pin.key not in confirmed]:
        raise RequestRefused(describe_unconfirmed(more))
