"""Scheduled deployments: one row for each time of a schedule, and none past its deadline.

The first process to look writes the row; a database constraint keeps a second one from writing it
again. After a long outage the last time still within its deadline is made up for, no earlier one.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.owners import see_to
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.exceptions import Paused, RequestRefused, TimesUnreadable
from deploy_manager.isolation import explain, one_by_one
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Schedule
from deploy_manager.schedule.slots import slots_between

SOURCE = "schedule"
JOB = "wrote scheduled deployments"
"""Its name among the jobs of `reconcile`."""

# Cron's finest step is a minute, and a deadline is a week at most: more would be a loop.
MOST_SLOTS = 7 * 24 * 60
"""One for each minute of the longest deadline."""


def write_due_deployments(
    now: datetime | None = None, wake: Callable[[Deployment], object] | None = None
) -> list[Deployment]:
    """Write the deployments that are due; one that may not begin yet waits until its deadline.

    `wake` is called with each as soon as it is written. An error with one schedule is kept as its
    problem and stops no other.
    """
    now = now or timezone.now()
    due = Schedule.objects.filter(is_enabled=True, looked_at__lt=now)
    due = due.select_related("environment__project", "owner", "plan")
    written = one_by_one(JOB, due, partial(_write, now=now, wake=wake), "environment")
    return [deployment for deployment in written if deployment]


def note_outcome(schedule_id: int, outcome: Message | str) -> None:
    """Write on a schedule why its last time was not deployed; blank: it was."""
    schedules = Schedule.objects.filter(pk=schedule_id).exclude(outcome=outcome)
    schedules.update(outcome=outcome)


def _write(
    schedule: Schedule, *, now: datetime, wake: Callable[[Deployment], object] | None
) -> Deployment | None:
    since = max(schedule.looked_at, now - timedelta(minutes=schedule.deadline))
    slots = slots_between(schedule.cron, schedule.time_zone, since, now, most=MOST_SLOTS)
    # Once paused it is asked about each time, so that its problem stays until it is seen to.
    if slots or schedule.paused:
        _see_to(schedule, now)
    deployment = _request(schedule, slots[-1], now) if slots else None
    # Last, so that a time is looked at again if its request failed on an error of ours.
    # And never back: another process may have looked at a later time meanwhile.
    Schedule.objects.filter(pk=schedule.pk, looked_at__lt=now).update(looked_at=now)
    if deployment and wake:
        wake(deployment)
    return deployment


def _see_to(schedule: Schedule, now: datetime) -> None:
    """Raise Paused if a schedule has to do nothing; the times that pass are left out."""
    try:
        see_to(schedule)
    except Paused as error:
        note_outcome(schedule.pk, error.message)
        Schedule.objects.filter(pk=schedule.pk, looked_at__lt=now).update(looked_at=now)
        raise


def _request(schedule: Schedule, slot: datetime, now: datetime) -> Deployment | None:
    """Request the deployment of one time. Until its deadline an error that can be fixed is retried.

    A refusal is final, except for allowed times that can't be read.
    """
    deadline = slot + timedelta(minutes=schedule.deadline)
    if deadline < now or schedule.deployments.filter(slot=slot).exists():
        return None
    options = DeploymentOptions(waits=True, deadline=deadline, schedule=schedule, slot=slot)
    try:
        # A savepoint: after a database error the outcome below could not be written otherwise.
        with transaction.atomic():
            deployment = request(
                schedule.environment,
                schedule.recipe,
                source=SOURCE,
                requested_by_name=str(schedule),
                user=schedule.owner,
                options=options,
            )
    except Exception as error:
        if schedule.deployments.filter(slot=slot).exists():
            return None  # another process was faster: what it noted is true
        words: dict[str, object] = {"time": f"{slot:%Y-%m-%d %H:%M %Z}", "why": explain(error)}
        note_outcome(schedule.pk, Message(_("Nothing was requested at %(time)s: %(why)s"), **words))
        if isinstance(error, RequestRefused) and not isinstance(error, TimesUnreadable):
            return None
        raise
    note_outcome(schedule.pk, "")
    return deployment
