"""The times of a cron expression in a named time zone.

cronsim does what Debian's cron does when the clocks change (cron(8), "Notes"):

- a job at fixed times runs once: at a skipped time it runs at the first moment after it, and at a
  time that comes twice it runs the first time only;
- a job whose minute or hour begins with `*` follows the wall clock: it runs in each hour there is,
  in both of the hour that comes twice; `*/10 2 * * *` has no time on the day that has no 2 o'clock.

Where clocks change by half an hour (Lord Howe Island only) such a job may miss times within the
two hours after the change.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile

from cronsim import CronSim, CronSimError

from deploy_manager.schedule.windows import check_zone

FIELDS = 5
"""cronsim knows a sixth one, for seconds, which cron does not."""


def check_cron(expression: str) -> None:
    """Raise ValueError for what is no cron expression of five fields, or one that never comes."""
    next_slot(expression, "UTC", datetime(2026, 1, 1, tzinfo=UTC))


def slots_between(
    expression: str, zone: str, after: datetime, until: datetime, most: int = 1000
) -> list[datetime]:
    """Return the times later than `after` and not later than `until`, in UTC, earliest first.

    Both are aware. There are `most` at most: the earliest ones. Raises ValueError as `next_slot`.
    """
    slots = takewhile(lambda slot: slot <= until, _slots(expression, zone, after))
    return list(islice(slots, most))


def next_slot(expression: str, zone: str, after: datetime) -> datetime:
    """Return the first time later than an aware moment, in UTC.

    Raises ValueError for a wrong expression, one that does not come in 50 years, an unknown zone.
    """
    for slot in _slots(expression, zone, after):
        return slot
    raise ValueError(f"{expression!r} never comes: no month has such a day.")


def _slots(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    for slot in _read(expression, after.astimezone(check_zone(zone))):
        # cronsim begins at the wall clock's time, whichever of two it is: it may look back.
        if (moment := slot.astimezone(UTC)) > after:
            yield moment


def _read(expression: str, after: datetime) -> CronSim:
    try:
        if len(expression.split()) != FIELDS:
            raise CronSimError("Wrong number of fields")
        return CronSim(expression, after)
    except CronSimError as error:
        raise ValueError(
            f"{expression!r} is no cron expression: {error}."
            " Write minute, hour, day, month and weekday, like 30 2 * * mon-fri."
        ) from None
