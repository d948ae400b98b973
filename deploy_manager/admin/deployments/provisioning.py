"""The way from the preview of provisioning to doing it."""

from typing import Any

from deploy_manager.admin.addresses import run_url
from deploy_manager.deployments.provisioning import PREVIEW, PROVISION, refuse_to_provision
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Placement, State
from deploy_manager.models.rights import may_deploy


def provision_url(user: Any, deployment: Deployment) -> str:
    """Return the page that confirms it for the servers that a preview has looked at.

    Blank: it is no preview, it has not ended, no server was seen, or this user may not do it.
    """
    environment = deployment.environment
    if deployment.recipe != PREVIEW or deployment.is_live or not may_deploy(user, environment):
        return ""
    seen = Placement.objects.filter(
        host_runs__deployment=deployment, host_runs__state=State.SUCCEEDED
    )
    places = list(seen.select_related("server"))
    try:
        refuse_to_provision(places, user)
    except RequestRefused:
        return ""
    names = [placement.server.name for placement in places]
    return run_url(PROVISION, [environment.pk], names) if names else ""
