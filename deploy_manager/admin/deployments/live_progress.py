"""The progress of a deployment as JSON, which its page polls."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db.models import prefetch_related_objects
from django.utils import timezone
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import short_time, spell_duration
from deploy_manager.admin.deployments.logs import to_block
from deploy_manager.admin.deployments.retrying import retry_label
from deploy_manager.deployments.progress import Progress
from deploy_manager.models import Deployment, HostRun, State, Step


def to_json(progress: Progress, with_output: bool = True) -> dict[str, Any]:
    """Return what changed, as text for people; the next request passes `cursor`.

    `with_output`: what the servers printed as well.
    """
    prefetch_related_objects(progress.chunks, "step")
    return {
        "cursor": progress.cursor,
        "more": progress.more,
        "live": progress.deployment.is_live,
        "now": timezone.now().timestamp(),
        "deployment": describe_deployment(progress.deployment),
        "hosts": [_describe(run) for run in progress.host_runs],
        "steps": [_describe(step) | {"host": step.host_run_id} for step in progress.steps],
        "chunks": [asdict(to_block(chunk)) for chunk in progress.chunks] if with_output else [],
    }


def describe_deployment(deployment: Deployment) -> dict[str, Any]:
    """Return the deployment's own facts as the page shows them."""
    pauses = deployment.state == State.RUNNING and deployment.opens_at is not None
    opens_at = deployment.opens_at if pauses else None
    pause = _("Pause: the next wave begins at %(time)s") % {"time": short_time(opens_at)}
    return _describe(deployment) | {
        "commit": deployment.commit,
        "release": deployment.release.name if deployment.release else "",
        "subject": deployment.release.subject if deployment.release else "",
        "started_at": short_time(deployment.started_at),
        "finished_at": short_time(deployment.finished_at),
        "cancel": deployment.cancel_requested_by_name if deployment.cancel_requested_at else "",
        "retry": retry_label(deployment),
        "pause": pause if pauses else "",
        "opens": _seconds(opens_at),
    }


def _describe(row: Deployment | HostRun | Step) -> dict[str, Any]:
    return {
        "id": row.pk,
        "state": row.state,
        "label": State(row.state).label,
        "message": str(row.message),
        "started": _seconds(row.started_at) if row.state == State.RUNNING else None,
        "duration": spell_duration(row.started_at, row.finished_at) if row.started_at else "",
    }


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
