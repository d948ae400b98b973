"""The times of a cron expression in a named time zone.

At changes of the clocks cronsim does as Debian's cron: a job at a skipped time runs once right
after it, a job at a time that comes twice runs once, and jobs of every hour run in each.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from cronsim import CronSim, CronSimError

from deploy_manager.times.windows import check_zone


def check_cron(expression: str) -> None:
    """Raise ValueError for what is no cron expression, in the library's words."""
    _iterate(expression, "UTC", datetime(2026, 1, 1, tzinfo=UTC))


def slots_between(
    expression: str, zone: str, after: datetime, until: datetime, most: int = 1000
) -> list[datetime]:
    """Return the times after one moment and up to another, in UTC, the earliest first."""
    slots: list[datetime] = []
    for slot in islice(_slots(expression, zone, after), most):
        if slot > until:
            break
        slots.append(slot)
    return slots


def next_slot(expression: str, zone: str, after: datetime) -> datetime:
    """Return the first time after a moment, in UTC. Raises ValueError where there is none."""
    try:
        return next(_slots(expression, zone, after))
    except StopIteration:
        raise ValueError(f"{expression!r} never comes.") from None


def _slots(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    for slot in _iterate(expression, zone, after):
        if slot.astimezone(UTC) > after:
            yield slot.astimezone(UTC)


def _iterate(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    try:
        return iter(CronSim(expression, after.astimezone(check_zone(zone))))
    except CronSimError as error:
        raise ValueError(
            f"{expression!r} is no cron expression: {error}. Write one like 30 2 * * mon-fri."
        ) from None
