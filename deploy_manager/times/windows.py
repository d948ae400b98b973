"""When changes are allowed: weekly windows by the wall clock of a named time zone.

A window that begins in an hour which a change of the clocks skips begins after the change; in the
hour that comes twice it is open both times, since the wall clock says so both times.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTE = timedelta(minutes=1)
WEEK = timedelta(days=8)
"""A week and the day before, whose windows may reach into it."""

_LINE = re.compile(r"(?P<days>\S+)\s+(?P<start>\d\d:\d\d)\s*-\s*(?P<end>\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True)
class Window:
    """Some days of the week, and minutes after their midnight; the end may lie on the next day."""

    days: frozenset[int]
    start: int
    end: int

    def holds(self, local: datetime) -> bool:
        """Whether the wall clock's time lies in it; its first minute does, its last does not."""
        minute = local.hour * 60 + local.minute
        if local.weekday() in self.days and self.start <= minute < max(self.end, self.start):
            return True
        return self._began_today(local, minute) or self._began_yesterday(local, minute)

    def _began_today(self, local: datetime, minute: int) -> bool:
        return self._passes_midnight and local.weekday() in self.days and minute >= self.start

    def _began_yesterday(self, local: datetime, minute: int) -> bool:
        yesterday = (local.weekday() - 1) % 7
        return self._passes_midnight and yesterday in self.days and minute < self.end

    @property
    def _passes_midnight(self) -> bool:
        return self.end <= self.start


def parse_windows(lines: Sequence[str]) -> tuple[Window, ...]:
    """Return windows from lines like `mon-fri 09:00-17:00`, `sat,sun 22:00-02:00`, `daily …`.

    Raises ValueError with the line that can't be read.
    """
    return tuple(_parse(line) for line in lines)


def is_open(windows: Sequence[Window], zone: str, at: datetime) -> bool:
    """Whether a moment lies in one of the windows; where there are none, always."""
    local = at.astimezone(check_zone(zone))
    return not windows or any(window.holds(local) for window in windows)


def next_opening(windows: Sequence[Window], zone: str, at: datetime) -> datetime:
    """Return the first moment from `at` on that lies in a window, in UTC."""
    if is_open(windows, zone, at):
        return at.astimezone(UTC)
    # An hour is skipped or comes twice at most: the wall clock changes by whole minutes.
    return next(moment for moment in _minutes_after(at) if is_open(windows, zone, moment))


def check_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name. Raises ValueError."""
    try:
        return _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"There is no time zone {name!r}: write one like Europe/Paris.") from None


@lru_cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _minutes_after(at: datetime) -> Iterator[datetime]:
    moment = at.astimezone(UTC).replace(second=0, microsecond=0)
    for _ in range(int(WEEK / MINUTE)):
        moment += MINUTE
        yield moment


def _parse(line: str) -> Window:
    found = _LINE.fullmatch(line.strip().lower())
    if found is None:
        raise ValueError(f"{line!r} is no window: write one like mon-fri 09:00-17:00.")
    start, end = _minutes(found["start"], line), _minutes(found["end"], line)
    if start >= 24 * 60 or start == end:
        raise ValueError(f"{line!r} never opens: write one like mon-fri 09:00-17:00.")
    return Window(frozenset(_days(found["days"], line)), start, end)


def _minutes(text: str, line: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes > 59 or hours * 60 + minutes > 24 * 60:
        raise ValueError(f"{line!r}: there is no {text} on a clock.")
    return hours * 60 + minutes


def _days(text: str, line: str) -> Iterator[int]:
    if text == "daily":
        yield from range(7)
        return
    for part in text.split(","):
        first, _dash, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{line!r}: {part!r} is no day: write mon to sun, mon-fri or daily.")
        start, end = DAYS.index(first), DAYS.index(last or first)
        yield from ((start + offset) % 7 for offset in range((end - start) % 7 + 1))
