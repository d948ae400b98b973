"""Deployments that a schedule asks for: one row for each of its times, and none past its deadline.

Whoever looks first writes the row; a database constraint keeps a second scheduler from writing it
again. After a long outage the last time still within its deadline is made up for, no earlier one.
"""

import logging
from datetime import datetime, timedelta

from django.utils import timezone

from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.models import Deployment, Schedule
from deploy_manager.runner.request import Wish, request
from deploy_manager.times import slots_between

logger = logging.getLogger(__name__)

DOOR = "schedule"
MOST_SLOTS = 7 * 24 * 60
"""One for each minute of the longest deadline."""


def write_due_deployments(now: datetime | None = None) -> list[Deployment]:
    """Write what schedules ask for now; what may not run yet waits for its deadline at most."""
    now = now or timezone.now()
    enabled = Schedule.objects.filter(is_enabled=True, looked_at__lt=now)
    written = (_write(each, now) for each in enabled.select_related("environment__project"))
    return [deployment for deployment in written if deployment]


def _write(schedule: Schedule, now: datetime) -> Deployment | None:
    since = max(schedule.looked_at, now - timedelta(minutes=schedule.deadline))
    slots = slots_between(schedule.cron, schedule.time_zone, since, now, most=MOST_SLOTS)
    deployment = _request(schedule, slots[-1], now) if slots else None
    Schedule.objects.filter(pk=schedule.pk, looked_at__lt=now).update(looked_at=now)
    return deployment


def _request(schedule: Schedule, slot: datetime, now: datetime) -> Deployment | None:
    deadline = slot + timedelta(minutes=schedule.deadline)
    if deadline < now or schedule.deployments.filter(slot=slot).exists():
        return None
    wish = Wish(waits=True, deadline=deadline, schedule=schedule, slot=slot)
    try:
        return request(
            schedule.environment,
            schedule.recipe,
            door=DOOR,
            requested_as=str(schedule),
            wish=wish,
        )
    except RequestRefused as error:
        logger.info("%s at %s: %s", schedule, slot, error)
    except DeployManagerError as error:
        logger.warning("%s at %s: %s", schedule, slot, error)
    return None
