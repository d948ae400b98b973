"""Allowed times: weekly windows on the wall clock of a named time zone.

A moment is allowed if the wall clock shows a time inside a window. When the clocks change, this
means:

- a window that begins in the skipped hour opens at the first moment after it; one that lies
  entirely in the skipped hour does not open that day;
- in an hour that occurs twice a window is open both times; one that has closed in it opens again
  when the clock goes back.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
DAYS_TO_LOOK_AHEAD = 15
"""Two weeks: a weekly window may lie in a skipped hour once, but not twice in a row."""

_MIDNIGHT = 24 * 60
_EXAMPLE = Message(
    _("Write one like mon-fri 09:00-17:00, sat,sun 22:00-02:00 or daily 01:00-05:00.")
)
_LINE = re.compile(
    r"(?P<days>[a-z,-]+) (?P<start>[0-9]{1,2}:[0-9]{2})-(?P<end>[0-9]{1,2}:[0-9]{2})"
)


class Window(NamedTuple):
    """The days of the week on which it begins (Monday is 0), and minutes after midnight.

    `start` is the first minute inside, `end` the first one after it; an `end` that is not later
    than `start` lies on the next day.
    """

    days: frozenset[int]
    start: int
    end: int

    def holds(self, local: datetime) -> bool:
        """Return whether this time of a wall clock is inside the window."""
        today, minute = local.weekday(), local.hour * 60 + local.minute
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        began_today = today in self.days and minute >= self.start
        began_yesterday = (today - 1) % 7 in self.days and minute < self.end
        return began_today or began_yesterday

    @property
    def starts_at(self) -> time:
        """Return the time on the wall clock at which it opens."""
        return time(self.start // 60, self.start % 60)


def parse_windows(lines: Sequence[str]) -> tuple[Window, ...]:
    """Return the windows of lines like `mon-fri 09:00-17:00`.

    Days are mon to sun, ranges, lists with commas, or `daily`; a window may pass midnight, and may
    end at 24:00. Raises ValueError with the first line that cannot be read, and an example.
    """
    return tuple(_parse(line) for line in lines)


def is_open(windows: Sequence[Window], zone: str, at: datetime) -> bool:
    """Return whether an aware moment lies in a window; always if there are no windows.

    Raises ValueError for an unknown time zone.
    """
    return not windows or _any_holds(windows, at, check_zone(zone))


def next_opening(windows: Sequence[Window], zone: str, at: datetime) -> datetime:
    """Return the first moment in a window that is not before the aware `at`, in UTC.

    If `at` lies in a window, that is `at` itself. Raises ValueError for an unknown time zone.
    """
    begin = at.astimezone(UTC)
    if is_open(windows, zone, at):
        return begin
    place = check_zone(zone)
    for day in range(DAYS_TO_LOOK_AHEAD):
        after = begin + day * DAY
        moments = _moments_it_may_open(windows, place, after)
        within = (each for each in moments if after < each <= after + DAY)
        if found := [each for each in within if _any_holds(windows, each, place)]:
            return min(found)
    raise ValueError(
        Message(_("None of these allowed times comes in %(zone)s within two weeks."), zone=zone)
    )


def check_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, like Europe/Paris. Raises ValueError for an unknown one."""
    try:
        return ZoneInfo(name)
    # A name like "Europe" is a folder of the zone database, and some files in it are no zones.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            Message(
                _("There is no time zone %(name)s. Write one like Europe/Paris."), name=repr(name)
            )
        ) from None


def zone_or_utc(name: str) -> tzinfo:
    """Return a time zone for showing times; UTC if no zone here is named so."""
    try:
        return check_zone(name)
    except ValueError:
        return UTC


def _any_holds(windows: Iterable[Window], at: datetime, zone: ZoneInfo) -> bool:
    local = at.astimezone(zone)
    return any(window.holds(local) for window in windows)


def _moments_it_may_open(
    windows: Sequence[Window], zone: ZoneInfo, after: datetime
) -> Iterator[datetime]:
    """Yield every such moment of the next 24 hours, and some around them."""
    date = after.astimezone(zone).date()
    # 24 hours touch three dates if one of them has only 23. Both folds: a start may occur twice.
    for days, window, fold in product(range(3), windows, (0, 1)):
        start = window.starts_at.replace(tzinfo=zone, fold=fold)
        yield datetime.combine(date + days * DAY, start).astimezone(UTC)
    yield from _changes_of_the_clocks(zone, after)


def _changes_of_the_clocks(zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the second at which the clocks change in the next 24 hours, if they do."""
    # zoneinfo does not list its changes: this is a binary search for the change of the offset.
    before, changed = after.replace(microsecond=0), after.replace(microsecond=0) + DAY
    offset = before.astimezone(zone).utcoffset()
    if changed.astimezone(zone).utcoffset() == offset:
        return
    while (gap := (changed - before) // timedelta(seconds=1)) > 1:
        middle = before + timedelta(seconds=gap // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            changed = middle
    yield changed


def _parse(line: str) -> Window:
    tidy = re.sub(r"\s*([,-])\s*", r"\1", " ".join(line.lower().split()))
    found = _LINE.fullmatch(tidy)
    if found is None:
        raise ValueError(
            Message(
                _("%(line)s is not an allowed time. %(example)s"), line=repr(line), example=_EXAMPLE
            )
        )
    start, end = _minutes(found["start"], line), _minutes(found["end"], line)
    if start in (end, _MIDNIGHT):
        raise ValueError(
            Message(
                _("%(line)s never begins. Write a whole day as 00:00-24:00. %(example)s"),
                line=repr(line),
                example=_EXAMPLE,
            )
        )
    return Window(frozenset(_days(found["days"], line)), start, end)


def _minutes(text: str, line: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes > 59 or hours * 60 + minutes > _MIDNIGHT:
        raise ValueError(
            Message(
                _("%(line)s: no clock shows %(time)s. %(example)s"),
                line=repr(line),
                time=text,
                example=_EXAMPLE,
            )
        )
    return hours * 60 + minutes


def _days(text: str, line: str) -> Iterator[int]:
    if text == "daily":
        yield from range(7)
        return
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(
                Message(
                    _("%(line)s: %(part)s is not one of %(days)s. %(example)s"),
                    line=repr(line),
                    part=repr(part),
                    days=", ".join(DAYS),
                    example=_EXAMPLE,
                )
            )
        start = DAYS.index(first)
        length = (DAYS.index(last or first) - start) % 7
        yield from ((start + offset) % 7 for offset in range(length + 1))
