"""What may keep a deployment that waits, or is queued, from beginning at this moment."""

from deploy_manager.deployments import freezes
from deploy_manager.deployments.approvals import why_not_approved
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.request import why_not_yet
from deploy_manager.messages import Message
from deploy_manager.models import Deployment


def why_wait_on(deployment: Deployment) -> Message:
    """Return what a waiting deployment still waits for; blank: it may be queued.

    Raises UnknownRecipe, InvalidRow, TimesUnreadable.
    """
    environment = deployment.environment
    pipeline = pipeline_for(environment, deployment.recipe)
    return why_not_approved(deployment) or why_not_yet(environment, pipeline, deployment.not_before)


def why_not_begin(deployment: Deployment) -> Message:
    """Return why a queued deployment may not begin any more; blank: it may."""
    return why_not_approved(deployment) or freezes.why_not_begin(deployment)
