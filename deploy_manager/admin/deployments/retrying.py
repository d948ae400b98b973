"""Run a deployment again where it did not come through: what the button says, and what it does."""

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager import dispatch
from deploy_manager.admin.badges import deployment_link, deployment_url
from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.request import DeploymentOptions, choose_placements
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.models import Deployment
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.rights import may_deploy
from deploy_manager.packages.downgrades import changed_pins, confirmed_in, tell_unconfirmed
from deploy_manager.packages.pins import pins_in


def retry_label(deployment: Deployment) -> str:
    """Return what the button says; blank where there is nothing to retry."""
    if deployment.is_live:
        return ""
    try:
        servers = set(retry(deployment)[1].servers)
    except RequestRefused:
        return ""
    text = ngettext("Retry on %(count)d server", "Retry on %(count)d servers", len(servers))
    return text % {"count": len(servers)}


def retry_view(
    admin: "ModelAdmin[Deployment]", request: HttpRequest, deployment: Deployment
) -> HttpResponse:
    """Ask for it again on the servers that did not come through; tell why where that is refused."""
    if not may_deploy(request.user, deployment.environment):
        raise PermissionDenied
    try:
        again = _retry(request, deployment)
    except DeployManagerError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(deployment_url(deployment.pk))
    admin.log_addition(request, again, _("Requested."))
    messages.success(request, format_html(_("{} was requested."), deployment_link(again)))
    return HttpResponseRedirect(deployment_url(again.pk))


def _refuse_to_take_back(deployment: Deployment, recipe: str, options: DeploymentOptions) -> None:
    """A button asks nothing: what an upgrade brought since is not taken back by it."""
    if options.release is None or recipe == ROLLBACK:
        return
    environment, confirmed = deployment.environment, confirmed_in(list(options.take_back))
    placements = choose_placements(environment, options.servers)
    changes = changed_pins(environment, pins_in(options.release.lock.text), placements)
    if more := [pin for pin in changes if pin.is_taken_back and pin.key not in confirmed]:
        raise RequestRefused(tell_unconfirmed(more))


def _retry(request: HttpRequest, deployment: Deployment) -> Deployment:
    recipe, options = retry(deployment)
    _refuse_to_take_back(deployment, recipe, options)
    return dispatch.request(
        deployment.environment,
        recipe,
        source="admin",
        requested_by_name=str(request.user),
        user=request.user,
        options=options,
    )
