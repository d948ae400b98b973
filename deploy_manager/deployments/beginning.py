"""What may keep a deployment that waits, or is queued, from beginning at this moment."""

from django.utils.translation import gettext_noop as _

from deploy_manager.deployments import freezes, gates
from deploy_manager.deployments.approvals import why_not_approved
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.pushed import SOURCE
from deploy_manager.deployments.request import why_not_yet
from deploy_manager.messages import Message
from deploy_manager.models import Deployment


def why_wait_on(deployment: Deployment) -> Message:
    """Return what a waiting deployment still waits for; blank: it may be queued.

    Raises UnknownRecipe, InvalidRow, TimesUnreadable.
    """
    environment = deployment.environment
    pipeline = pipeline_for(environment, deployment.recipe)
    return (
        why_not_approved(deployment)
        or gates.look_again(deployment).waits
        or why_not_yet(environment, pipeline, deployment.not_before)
    )


def why_not_begin(deployment: Deployment) -> Message:
    """Return why a queued deployment may not begin any more; blank: it may."""
    # Looked at once: what it asks of the database is asked at each claim.
    gate = gates.look_again(deployment)
    return (
        _why_nobody_asks_any_more(deployment)
        or gate.refused
        or why_not_approved(deployment)
        or gate.waits
        or freezes.why_not_begin(deployment)
    )


def why_never(deployment: Deployment) -> Message:
    """Return why a deployment that has not begun never may; blank: it may in its time."""
    return _why_nobody_asks_any_more(deployment) or gates.look_again(deployment).refused


def _why_nobody_asks_any_more(deployment: Deployment) -> Message:
    """Return what became of the token or the webhook that asked for it; blank: nothing."""
    token, webhook = deployment.token, deployment.webhook
    if token is not None and token.revoked_at is not None:
        return Message(
            _("The token that asked for it, %(token)s, was revoked."), "token_revoked", token=token
        )
    if webhook is None and deployment.source == SOURCE:
        return Message(_("The webhook that asked for it was deleted."), "webhook_off")
    if webhook is not None and not webhook.is_enabled:
        return Message(
            _("The webhook that asked for it, %(webhook)s, was switched off."),
            "webhook_off",
            webhook=webhook,
        )
    return Message()
