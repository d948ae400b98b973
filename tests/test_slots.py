"""The times of cron expressions, and what becomes of them while the clocks change."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_manager.schedule.slots import check_cron, next_slot, slots_between

NIGHTLY, HOURLY = "30 2 * * *", "30 * * * *"
CHANGE_DAYS = {
    "Europe/Paris": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
}


def local_times(expression: str, zone: str, date: str) -> list[str]:
    """Return what the wall clock shows at each time of a day, with its distance from UTC."""
    start = datetime.fromisoformat(date).replace(tzinfo=ZoneInfo(zone))
    end = start + timedelta(days=1)
    slots = slots_between(
        expression, zone, start - timedelta(seconds=1), end - timedelta(seconds=1)
    )
    return [f"{slot.astimezone(start.tzinfo):%H:%M%z}" for slot in slots]


@pytest.mark.parametrize(
    ("zone", "day", "time"),
    [
        ("Europe/Paris", "2026-03-28", "02:30+0100"),
        ("Europe/Paris", "2026-03-29", "03:00+0200"),
        ("Europe/Paris", "2026-10-25", "02:30+0200"),
        ("Europe/Paris", "2026-10-26", "02:30+0100"),
        ("America/New_York", "2026-03-08", "03:00-0400"),
        ("America/New_York", "2026-11-01", "02:30-0500"),
        ("Australia/Lord_Howe", "2026-10-04", "02:30+1100"),
        ("Australia/Lord_Howe", "2026-04-05", "02:30+1030"),
        ("UTC", "2026-03-29", "02:30+0000"),
    ],
)
def test_a_nightly_job_runs_once_on_each_day(zone: str, day: str, time: str) -> None:
    assert local_times(NIGHTLY, zone, day) == [time]


def test_a_job_at_a_time_that_comes_twice_runs_the_first_time_only() -> None:
    assert local_times(NIGHTLY, "Europe/Paris", "2026-10-25") == ["02:30+0200"]
    assert local_times("30 1 * * *", "America/New_York", "2026-11-01") == ["01:30-0400"]


@pytest.mark.parametrize(("zone", "days"), CHANGE_DAYS.items())
def test_an_hourly_job_runs_in_each_hour_there_is(zone: str, days: tuple[str, str]) -> None:
    for day, hours in zip(days, (23, 25), strict=True):
        start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        wanted = [start + timedelta(hours=hour, minutes=30) for hour in range(hours)]
        assert slots_between(HOURLY, zone, start, start + timedelta(hours=hours)) == wanted


def test_jobs_that_follow_the_wall_clock_skip_an_hour_it_skips_and_run_in_both_of_two() -> None:
    assert local_times("*/30 2 * * *", "Europe/Paris", "2026-03-29") == []
    assert local_times("*/30 2 * * *", "Europe/Paris", "2026-10-25") == [
        "02:00+0200",
        "02:30+0200",
        "02:00+0100",
        "02:30+0100",
    ]


@settings(deadline=None)
@given(
    expression=st.sampled_from([NIGHTLY, HOURLY, "*/7 1-3 * * *", "0,20 2,3 * * *", "5 */2 * * *"]),
    change=st.sampled_from([(zone, day) for zone, days in CHANGE_DAYS.items() for day in days]),
    cuts=st.lists(st.integers(0, 2 * 86400), min_size=1, max_size=4).map(sorted),
)
def test_looking_more_often_finds_the_same_times(
    expression: str, change: tuple[str, str], cuts: list[int]
) -> None:
    zone, day = change
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    start -= timedelta(hours=6)
    bounds = [start, *(start + timedelta(seconds=cut) for cut in cuts), start + timedelta(days=2)]
    found = [
        slot
        for after, until in pairwise(bounds)
        for slot in slots_between(expression, zone, after, until)
    ]
    assert found == slots_between(expression, zone, start, bounds[-1])
    assert len(set(found)) == len(found)


def test_the_later_end_belongs_to_a_stretch_of_time_and_the_earlier_does_not() -> None:
    at = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
    assert slots_between(NIGHTLY, "UTC", at, at + timedelta(days=2)) == [
        at + timedelta(days=1),
        at + timedelta(days=2),
    ]
    assert slots_between(NIGHTLY, "UTC", at, at) == []
    assert slots_between(NIGHTLY, "UTC", at, at - timedelta(days=3)) == []
    assert next_slot(NIGHTLY, "UTC", at) == at + timedelta(days=1)
    assert next_slot(NIGHTLY, "UTC", at - timedelta(microseconds=1)) == at


def test_there_are_no_more_slots_than_asked_for_and_they_are_the_earliest() -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    slots = slots_between("* * * * *", "UTC", at, at + timedelta(days=1), most=3)
    assert slots == [at + timedelta(minutes=number) for number in (1, 2, 3)]
    assert len(slots_between("* * * * *", "UTC", at, at + timedelta(days=1))) == 1000


def test_slots_are_in_utc() -> None:
    slot = next_slot(NIGHTLY, "Europe/Paris", datetime(2026, 6, 1, tzinfo=UTC))
    assert slot.tzinfo is UTC
    assert slot == datetime(2026, 6, 1, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "Wrong number of fields"),
        ("30 2 * *", "Wrong number of fields"),
        ("0 30 2 * * *", "Wrong number of fields"),
        ("@daily", "Wrong number of fields"),
        ("60 2 * * *", "Bad minute"),
        ("30 24 * * *", "Bad hour"),
        ("30 2 0 * *", "Bad day-of-month"),
        ("30 2 30 2 *", "Bad day-of-month"),
        ("30 2 * 13 *", "Bad month"),
        ("30 2 * * noday", "Bad day-of-week"),
        ("0 0 */30 2 mon#5", "has no slot"),
    ],
)
def test_a_wrong_expression_is_refused_in_words(expression: str, words: str) -> None:
    with pytest.raises(ValueError) as told:
        check_cron(expression)
    assert repr(expression) in str(told.value)
    assert words in str(told.value)


@pytest.mark.parametrize(
    "expression", ["* * * * *", "30 2 * * mon-fri", "0 */6 1,15 * *", "0 3 l * *", "0 0 29 2 *"]
)
def test_a_right_expression_is_taken(expression: str) -> None:
    check_cron(expression)


def test_slots_of_an_unknown_time_zone_are_refused() -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="no time zone 'Paris'"):
        slots_between(NIGHTLY, "Paris", at, at)
    with pytest.raises(ValueError, match="no time zone 'Paris'"):
        next_slot(NIGHTLY, "Paris", at)
