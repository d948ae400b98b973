"""One deployment for each time of a schedule, however often and from where it is run; none late."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from deploy_manager.deployments import scheduling
from deploy_manager.deployments.request import request
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Schedule, State
from deploy_manager.schedule.slots import slots_between
from tests.inventory import Inventory
from tests.owners import owned
from tests.parts.matrices import few
from tests.test_deployments import at_once

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

CHANGE_OF_CLOCKS = datetime(2026, 10, 25, tzinfo=UTC)
"""The day on which 3:00 in Paris becomes 2:00 again."""

DEADLINE = timedelta(minutes=45)


def make_schedule(inventory: Inventory, cron: str, looked_at: datetime) -> Schedule:
    return owned(
        Schedule.objects.create(
            environment=inventory.environment,
            recipe="ping",
            cron=cron,
            time_zone="Europe/Paris",
            deadline=DEADLINE.total_seconds() // 60,
            looked_at=looked_at,
        )
    )


def moments(start: datetime) -> Iterator[datetime]:
    """A day in which two schedulers look now and then, and none does for six hours."""
    for minute in range(0, 24 * 60, 7):
        if not 8 * 60 < minute < 14 * 60:
            yield start + timedelta(minutes=minute)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """What time it is: the last of this list."""
    now = [CHANGE_OF_CLOCKS]
    monkeypatch.setattr(timezone, "now", lambda: now[-1])
    return now


@pytest.mark.parametrize("cron", few("30 2 * * *", "*/15 * * * *", "0 * * * *"))
def test_two_schedulers_and_an_outage_on_the_day_the_clocks_change(
    inventory: Inventory, clock: list[datetime], cron: str
) -> None:
    schedule = make_schedule(inventory, cron, CHANGE_OF_CLOCKS)
    written: list[Deployment] = []
    for now in moments(CHANGE_OF_CLOCKS):
        clock.append(now)
        for _scheduler in range(2):
            made = write_due_deployments(now)
            for deployment in made:
                assert deployment.slot is not None
                assert now - DEADLINE <= deployment.slot <= now
                Deployment.objects.filter(pk=deployment.pk).update(
                    state=State.SUCCEEDED, finished_at=now
                )
            written += made
    slots = [deployment.slot for deployment in written]
    assert len(set(slots)) == len(slots)
    wanted = slots_between(cron, "Europe/Paris", CHANGE_OF_CLOCKS, clock[-1])
    during_outage = (CHANGE_OF_CLOCKS + timedelta(hours=8), CHANGE_OF_CLOCKS + timedelta(hours=14))
    missed = set(wanted) - set(slots)
    passed_by_another = {slot for slot in missed if any(s and slot < s for s in slots)}
    assert missed == passed_by_another
    if cron != "*/15 * * * *":
        assert all(during_outage[0] <= slot <= during_outage[1] for slot in missed)
    schedule.refresh_from_db()
    assert schedule.looked_at == clock[-1]


def test_schedulers_at_the_same_moment_write_one_row(inventory: Inventory) -> None:
    now = timezone.now()
    make_schedule(inventory, "* * * * *", now - timedelta(minutes=2))
    made = at_once(lambda _: write_due_deployments(now))
    assert sum(map(len, made)) == 1
    assert Deployment.objects.count() == 1


def test_a_scheduler_that_was_slower_does_not_say_that_nothing_was_requested(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = request

    def be_slower(*args: Any, **options: Any) -> Deployment:
        real(*args, **options)
        raise RequestRefused("Its time was requested already.")

    monkeypatch.setattr(scheduling, "transaction", SimpleNamespace(atomic=nullcontext))
    monkeypatch.setattr(scheduling, "request", be_slower)
    schedule = make_schedule(inventory, "* * * * *", timezone.now() - timedelta(minutes=2))
    assert write_due_deployments(timezone.now()) == []
    schedule.refresh_from_db()
    assert (Deployment.objects.count(), schedule.outcome) == (1, "")


def test_a_run_waits_for_the_one_before_until_its_deadline(inventory: Inventory) -> None:
    now = timezone.now()
    inventory.request("ping")
    make_schedule(inventory, "* * * * *", now - timedelta(minutes=2))
    (made,) = write_due_deployments(now)
    assert made.state == State.WAITING
    assert made.slot is not None
    assert made.deadline == made.slot + DEADLINE


def test_a_schedule_that_is_off_asks_for_nothing(inventory: Inventory) -> None:
    now = timezone.now()
    schedule = make_schedule(inventory, "* * * * *", now - timedelta(minutes=2))
    Schedule.objects.filter(pk=schedule.pk).update(is_enabled=False)
    assert write_due_deployments(now) == []
