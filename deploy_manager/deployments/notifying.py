"""Notifications of how a deployment ended: to whom they go, and their text."""

from functools import partial

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from deploy_manager.isolation import forget, one_by_one
from deploy_manager.models import Deployment, Notification
from deploy_manager.models.states import APPROVAL_NEEDED, GLASS_BROKEN
from deploy_manager.notifications.sending import send

JOB = "sent notifications"
REQUEST_JOB = "sent notifications of requests"


def send_notifications(deployment_id: int) -> int:
    """Notify every target that asked for it how a deployment ended; return how many were sent.

    A target that can't be reached stops no other: the error is kept as its problem.
    """
    deployment = Deployment.objects.select_related("environment__project").get(pk=deployment_id)
    notifications = deployment.environment.notifications.all()
    return sum(one_by_one(JOB, notifications, partial(_notify, deployment), "environment"))


def send_request_notifications(deployment_id: int) -> int:
    """Notify every target that asked for it of a request that waits for approval, or goes without.

    Returns how many were sent.
    """
    deployment = Deployment.objects.select_related("environment__project").get(pk=deployment_id)
    notifications = deployment.environment.notifications.all()
    return sum(
        one_by_one(REQUEST_JOB, notifications, partial(_notify_request, deployment), "environment")
    )


def _notify_request(deployment: Deployment, notification: Notification) -> bool:
    event = GLASS_BROKEN if deployment.breaks_glass else APPROVAL_NEEDED
    if event not in notification.states:
        return False
    with translation.override(settings.LANGUAGE_CODE):
        words = {
            "site": deployment.environment,
            "recipe": deployment.recipe,
            "number": deployment.pk,
        }
        title = _("%(site)s: %(recipe)s #%(number)d waits for approval") % words
        if deployment.breaks_glass:
            title = _("%(site)s: BREAK-GLASS, %(recipe)s #%(number)d without approval") % words
        text = text_of(deployment, with_servers=False)
    send(notification.target, title, text)
    forget(REQUEST_JOB, notification)
    return True


def _notify(deployment: Deployment, notification: Notification) -> bool:
    if deployment.state not in notification.states:
        return False
    # Not the language of a person who cancels it, in whose request this may be called.
    with translation.override(settings.LANGUAGE_CODE):
        title, text = title_of(deployment), text_of(deployment)
    send(notification.target, title, text)
    forget(JOB, notification)
    return True


def title_of(deployment: Deployment) -> str:
    """Return what happened, in one line."""
    return _("%(site)s: %(recipe)s #%(number)d %(state)s") % {
        "site": deployment.environment,
        "recipe": deployment.recipe,
        "number": deployment.pk,
        "state": deployment.get_state_display(),
    }


def text_of(deployment: Deployment, *, with_servers: bool = True) -> str:
    """Return who requested it, what was sent, and how each server ended."""
    lines = [
        _("Requested by %(who)s (source: %(source)s).")
        % {"who": deployment.requested_by_name, "source": deployment.source},
        deployment.reason,
        deployment.commit and _("Commit %(commit)s") % {"commit": deployment.commit[:12]},
        str(deployment.message),
    ]
    if with_servers:
        runs = deployment.host_runs.all()
        lines += [f"{run.server_name}: {run.get_state_display()}" for run in runs]
    if deployment.breaks_glass:
        lines.append(_("It goes without the approvals that it needs (break-glass)."))
        rows = deployment.approvals.filter(decision="glass")
        lines += [f"{row.user_name}: {row.reason}" for row in rows]
    return "\n".join(filter(None, lines))
