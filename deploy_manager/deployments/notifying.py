"""Who is told how a deployment ended, and in which words."""

from functools import partial

from django.utils.translation import gettext as _

from deploy_manager.isolation import forget, one_by_one
from deploy_manager.models import Deployment, Notification
from deploy_manager.notifications.sending import send

JOB = "told how it ended"


def send_notifications(deployment_id: int) -> int:
    """Tell everybody who wants to know how a deployment ended; return how many were told.

    A target that can't be reached keeps no other from being told: it is kept as a problem.
    """
    deployment = Deployment.objects.select_related("environment__project").get(pk=deployment_id)
    notifications = deployment.environment.notifications.all()
    return sum(one_by_one(JOB, notifications, partial(_tell, deployment), "environment"))


def _tell(deployment: Deployment, notification: Notification) -> bool:
    if deployment.state not in notification.states:
        return False
    send(notification.target, title_of(deployment), text_of(deployment))
    forget(JOB, notification)
    return True


def title_of(deployment: Deployment) -> str:
    """Return what happened, in a line."""
    return _("%(site)s: %(recipe)s #%(number)d %(state)s") % {
        "site": deployment.environment,
        "recipe": deployment.recipe,
        "number": deployment.pk,
        "state": deployment.get_state_display(),
    }


def text_of(deployment: Deployment) -> str:
    """Return who asked for it, what was sent, and how each server ended."""
    lines = [
        _("Requested by %(who)s through %(source)s.")
        % {"who": deployment.requested_by_name, "source": deployment.source},
        deployment.reason,
        deployment.commit and _("Commit %(commit)s") % {"commit": deployment.commit[:12]},
        deployment.message,
        *(f"{run.server_name}: {run.get_state_display()}" for run in deployment.host_runs.all()),
    ]
    return "\n".join(filter(None, lines))
