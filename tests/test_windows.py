"""Allowed windows: how they are written, and when they are open while the clocks change."""

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deploy_manager.schedule.windows import Window, check_zone, is_open, next_opening, parse_windows

MINUTE = timedelta(minutes=1)
MINUTES_OF_A_DAY = 24 * 60
MINUTES_OF_A_WEEK = 7 * MINUTES_OF_A_DAY
CHANGES = {
    "Europe/Paris": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-04-04T15:00", "2026-10-03T15:30"),
    "UTC": ("2026-03-29T01:00", "2026-12-31T23:59"),
}
"""When their clocks change in 2026, in UTC; UTC's do not."""


@cache
def walk(change: str, zone: str) -> tuple[list[datetime], list[int]]:
    """Every minute from two days before a change to 16 after it, and its minute of the week."""
    start = datetime.fromisoformat(change).replace(tzinfo=UTC) - timedelta(days=2)
    moments = [start + number * MINUTE for number in range(18 * MINUTES_OF_A_DAY)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    return moments, [(at.weekday() * 24 + at.hour) * 60 + at.minute for at in local]


def minutes_inside(windows: Iterable[Window]) -> set[int]:
    """Every minute of the week that lies in a window, counted one by one."""
    inside = set()
    for window in windows:
        length = (window.end - window.start) % MINUTES_OF_A_DAY or MINUTES_OF_A_DAY
        for day in window.days:
            first = day * MINUTES_OF_A_DAY + window.start
            inside |= {(first + number) % MINUTES_OF_A_WEEK for number in range(length)}
    return inside


def clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


night_minutes = st.one_of(st.integers(0, 4 * 60), st.integers(0, MINUTES_OF_A_DAY - 1))
day_names = st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
day_lists = st.one_of(
    st.just("daily"),
    st.tuples(day_names, day_names).map("-".join),
    st.lists(day_names, min_size=1, max_size=3).map(",".join),
    st.just("sun"),
)
lines = (
    st.tuples(day_lists, night_minutes, night_minutes)
    .filter(lambda parts: parts[1] != parts[2])
    .map(lambda parts: f"{parts[0]} {clock(parts[1])}-{clock(parts[2])}")
)
changes = st.sampled_from([(zone, at) for zone, both in CHANGES.items() for at in both])


@settings(deadline=None)
@given(change=changes, texts=st.lists(lines, min_size=1, max_size=3), since=st.integers(0, 5760))
@example(("Europe/Paris", "2026-03-29T01:00"), ["sun 02:00-03:00"], 2880)
@example(("Europe/Paris", "2026-03-29T01:00"), ["sun 02:30-03:01"], 2870)
@example(("Europe/Paris", "2026-10-25T01:00"), ["sun 01:30-02:10"], 2835)
def test_windows_open_when_a_walk_minute_by_minute_says_so(
    change: tuple[str, str], texts: list[str], since: int
) -> None:
    zone, at = change
    moments, minutes = walk(at, zone)
    windows = parse_windows(texts)
    inside = minutes_inside(windows)
    assert is_open(windows, zone, moments[since]) is (minutes[since] in inside)
    opening = next(number for number in range(since, len(minutes)) if minutes[number] in inside)
    assert next_opening(windows, zone, moments[since]) == moments[opening]


@settings(deadline=None)
@given(change=changes, texts=st.lists(lines, max_size=2), seconds=st.integers(0, 4 * 86400))
def test_the_next_opening_is_open_and_not_before(
    change: tuple[str, str], texts: list[str], seconds: int
) -> None:
    zone, at = change
    moments, _ = walk(at, zone)
    moment = moments[0] + timedelta(seconds=seconds, microseconds=5)
    windows = parse_windows(texts)
    opening = next_opening(windows, zone, moment)
    assert opening.tzinfo is UTC
    assert is_open(windows, zone, opening)
    assert (opening == moment) is is_open(windows, zone, moment)
    before = bisect_left(moments, opening)
    assert opening == moment or not is_open(windows, zone, moments[before - 1])


def paris(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Paris"))


@pytest.mark.parametrize(
    ("line", "opened", "closed"),
    [
        ("mon-fri 09:00-17:00", "2026-11-23T09:00", "2026-11-23T17:00"),
        ("fri-mon 09:00-17:00", "2026-11-23T16:59", "2026-11-24T09:00"),
        ("sat 22:00-02:00", "2026-11-29T01:59", "2026-11-29T02:00"),
        ("sat 22:00-02:00", "2026-11-28T22:00", "2026-11-28T01:00"),
        ("sun 22:00-24:00", "2026-11-29T23:59", "2026-11-30T00:00"),
        ("daily 00:00-24:00", "2026-11-30T00:00", None),
        ("mon,wed 09:00-10:00", "2026-11-25T09:30", "2026-11-24T09:30"),
        ("  Mon , WED - Fri  9:00 - 10:00 ", "2026-11-26T09:30", "2026-11-24T09:30"),
    ],
)
def test_a_window_is_open_as_it_is_written(line: str, opened: str, closed: str | None) -> None:
    windows = parse_windows([line])
    assert is_open(windows, "Europe/Paris", paris(opened))
    assert closed is None or not is_open(windows, "Europe/Paris", paris(closed))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "is not an allowed time"),
        ("mon-fri", "is not an allowed time"),
        ("mon 09:00-17:00 18:00-19:00", "is not an allowed time"),
        ("mon 0900-1700", "is not an allowed time"),
        ("mon ٠٩:00-17:00", "is not an allowed time"),
        ("noon 09:00-17:00", "'noon' is not one of"),
        ("mon- 09:00-17:00", "is not an allowed time"),
        ("mon,,tue 09:00-17:00", "'' is not one of"),
        ("mon-tue-wed 09:00-17:00", "is not one of"),
        ("mon 09:60-17:00", "no clock shows 09:60"),
        ("mon 09:00-24:01", "no clock shows 24:01"),
        ("mon 09:00-09:00", "never begins"),
        ("mon 24:00-02:00", "never begins"),
    ],
)
def test_a_wrong_line_is_named_and_a_right_one_shown(line: str, words: str) -> None:
    with pytest.raises(ValueError) as told:
        parse_windows(["daily 01:00-05:00", line])
    assert repr(line) in str(told.value)
    assert words in str(told.value)
    assert "mon-fri 09:00-17:00" in str(told.value)


def test_without_windows_it_is_always_open() -> None:
    at = paris("2026-11-23T03:00")
    assert is_open([], "Europe/Paris", at)
    assert next_opening([], "Europe/Paris", at) == at


def test_a_window_that_begins_in_the_skipped_hour_opens_at_the_first_moment_after_it() -> None:
    windows = parse_windows(["sun 02:30-05:00"])
    opening = next_opening(windows, "Europe/Paris", paris("2026-03-29T00:00"))
    assert opening == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_window_is_open_both_times_in_the_hour_that_comes_twice() -> None:
    windows = parse_windows(["sun 02:00-02:30"])
    moments = [datetime(2026, 10, 25, 0, tzinfo=UTC) + 15 * MINUTE * number for number in range(8)]
    opened = [is_open(windows, "Europe/Paris", moment) for moment in moments]
    assert opened == [True, True, False, False, True, True, False, False]


def test_a_window_waits_for_a_week_that_has_its_hour() -> None:
    windows = parse_windows(["sun 02:00-03:00"])
    opening = next_opening(windows, "Europe/Paris", paris("2026-03-22T03:00"))
    assert opening == paris("2026-04-05T02:00")


@pytest.mark.parametrize("name", ["", "Paris", "Europe", "../etc/passwd", "a\0b", "zone.tab"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="There is no time zone") as told:
        check_zone(name)
    assert repr(name) in str(told.value)
    with pytest.raises(ValueError, match="no time zone"):
        is_open(parse_windows(["daily 01:00-05:00"]), name, paris("2026-11-23T03:00"))
