"""Deployments that a schedule asks for: one row for each of its times, and none past its deadline.

Whoever looks first writes the row; a database constraint keeps a second scheduler from writing it
again. After a long outage the last time still within its deadline is made up for, no earlier one.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.exceptions import RequestRefused, TimesUnreadable
from deploy_manager.isolation import explain, one_by_one
from deploy_manager.models import Deployment, Schedule
from deploy_manager.schedule.slots import slots_between

SOURCE = "schedule"
JOB = "wrote what was due"
"""Its name among the jobs of the reconcile loop."""

MOST_SLOTS = 7 * 24 * 60
"""One for each minute of the longest deadline."""


def write_due_deployments(
    now: datetime | None = None, wake: Callable[[Deployment], object] | None = None
) -> list[Deployment]:
    """Write what schedules ask for now; what may not run yet waits for its deadline at most.

    `ring` is told of each as soon as it is written. What keeps one schedule from being read or
    asked for is kept as its problem.
    """
    now = now or timezone.now()
    due = Schedule.objects.filter(is_enabled=True, looked_at__lt=now)
    written = one_by_one(
        JOB,
        due.select_related("environment__project"),
        partial(_write, now=now, wake=wake),
        "environment",
    )
    return [deployment for deployment in written if deployment]


def note_outcome(schedule_id: int, outcome: str) -> None:
    """Write on a schedule why its last time came to nothing; blank: it did not."""
    schedules = Schedule.objects.filter(pk=schedule_id).exclude(outcome=outcome)
    schedules.update(outcome=outcome)


def _write(
    schedule: Schedule, *, now: datetime, wake: Callable[[Deployment], object] | None
) -> Deployment | None:
    since = max(schedule.looked_at, now - timedelta(minutes=schedule.deadline))
    slots = slots_between(schedule.cron, schedule.time_zone, since, now, most=MOST_SLOTS)
    deployment = _request(schedule, slots[-1], now) if slots else None
    Schedule.objects.filter(pk=schedule.pk, looked_at__lt=now).update(looked_at=now)
    if deployment and wake:
        wake(deployment)
    return deployment


def _request(schedule: Schedule, slot: datetime, now: datetime) -> Deployment | None:
    """Ask for one time of a schedule. What can be mended until its deadline is tried again."""
    deadline = slot + timedelta(minutes=schedule.deadline)
    if deadline < now or schedule.deployments.filter(slot=slot).exists():
        return None
    options = DeploymentOptions(waits=True, deadline=deadline, schedule=schedule, slot=slot)
    try:
        with transaction.atomic():  # so that why it failed can be written behind it
            deployment = request(
                schedule.environment,
                schedule.recipe,
                source=SOURCE,
                requested_by_name=str(schedule),
                options=options,
            )
    except Exception as error:
        words = {"time": f"{slot:%Y-%m-%d %H:%M %Z}", "why": explain(error)}
        note_outcome(schedule.pk, _("Nothing was asked for at %(time)s: %(why)s") % words)
        if isinstance(error, RequestRefused) and not isinstance(error, TimesUnreadable):
            return None
        raise
    note_outcome(schedule.pk, "")
    return deployment
