"""The times of a cron expression in a named time zone.

When the clocks change, cronsim does the same as Debian's cron (cron(8), "Notes"):

- a job at fixed times runs once: for a skipped time, at the first moment after it; for a time that
  occurs twice, only the first time;
- a job whose minute or hour begins with `*` follows the wall clock: it runs in each hour that
  exists, and twice in an hour that occurs twice; `*/10 2 * * *` has no slot on a day without a 2
  o'clock.

If the clocks change by half an hour (only on Lord Howe Island), such a job may miss slots within
the two hours after the change.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile

from cronsim import CronSim, CronSimError
from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message
from deploy_manager.schedule.windows import check_zone

FIELDS = 5
"""cronsim accepts a sixth, for seconds, which cron does not have."""


def check_cron(expression: str) -> None:
    """Raise ValueError unless it is a cron expression of five fields that has a slot."""
    # From a fixed moment, so that the same text is always judged alike.
    next_slot(expression, "UTC", datetime(2026, 1, 1, tzinfo=UTC))


def slots_between(
    expression: str, zone: str, after: datetime, until: datetime, most: int = 1000
) -> list[datetime]:
    """Return the slots after `after` and not after `until`, in UTC, earliest first.

    Both are aware. Of more than `most` slots the earliest are returned. Raises ValueError like
    `next_slot`.
    """
    slots = takewhile(lambda slot: slot <= until, _slots(expression, zone, after))
    return list(islice(slots, most))


def next_slot(expression: str, zone: str, after: datetime) -> datetime:
    """Return the first slot after an aware moment, in UTC.

    Raises ValueError for a wrong expression, one without a slot in 50 years, and an unknown zone.
    """
    for slot in _slots(expression, zone, after):
        return slot
    raise ValueError(
        Message(
            _("%(expression)s has no slot: no month has such a day."), expression=repr(expression)
        )
    )


def _slots(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    local = after.astimezone(check_zone(zone))
    try:
        if len(expression.split()) != FIELDS:
            raise CronSimError(Message(_("Wrong number of fields")))
        slots = CronSim(expression, local)
    except CronSimError as error:
        raise ValueError(
            Message(
                _(
                    "%(expression)s is not a cron expression: %(error)s. Write minute, hour, "
                    "day, month and weekday, like 30 2 * * mon-fri."
                ),
                expression=repr(expression),
                error=error,
            )
        ) from None
    for slot in slots:
        # cronsim starts from the wall clock's time: if that occurs twice, it may yield the past.
        if (moment := slot.astimezone(UTC)) > after:
            yield moment
