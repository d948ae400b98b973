"""Numbers of servers as people write them, and what they are used for."""

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_manager.rollout_size import RolloutSize, cut_waves, is_too_many, parse_rollout_size

percentages = st.integers(0, 100)
numbers = st.integers(0, 999_999)
totals = st.integers(0, 5000)
sizes = st.one_of(numbers.map(str), percentages.map("{}%".format), percentages.map("{} %".format))
batches = sizes.filter(lambda text: parse_rollout_size(text).number > 0)
small_sizes = st.one_of(st.integers(0, 40).map(str), percentages.map("{} %".format))
small_batches = st.one_of(st.integers(1, 40).map(str), st.integers(1, 100).map("{}%".format))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("3", RolloutSize(3)),
        ("0", RolloutSize(0)),
        (" 12 ", RolloutSize(12)),
        ("25%", RolloutSize(25, True)),
        ("25 %", RolloutSize(25, True)),
        ("100 %", RolloutSize(100, True)),
    ],
)
def test_a_share_is_a_number_or_a_percentage(text: str, size: RolloutSize) -> None:
    assert parse_rollout_size(text) == size


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "2.5", "12,5 %", "%", "% 25", "all", "3 servers", "1e3", "٣", "9999999"]
)
def test_what_is_no_share_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of servers") as told:
        parse_rollout_size(text)
    assert repr(text) in str(told.value)
    assert "25 %" in str(told.value)


@pytest.mark.parametrize("text", ["101 %", "999999%"])
def test_there_is_no_more_than_100_percent(text: str) -> None:
    with pytest.raises(ValueError, match="Write 100 % at most"):
        parse_rollout_size(text)


@pytest.mark.parametrize(
    ("text", "total", "number", "at_most"),
    [("10 %", 3, 1, 0), ("0", 3, 0, 0), ("50 %", 3, 2, 1), ("50 %", 4, 2, 2), ("5", 3, 5, 5)],
)
def test_percentages_are_rounded(text: str, total: int, number: int, at_most: int) -> None:
    assert parse_rollout_size(text).of(total) == number
    assert parse_rollout_size(text).at_most(total) == at_most


@settings(deadline=None)
@given(percentages, totals)
def test_a_percentage_is_within_one_of_the_exact_figure(percentage: int, total: int) -> None:
    size, hundredths = RolloutSize(percentage, is_percentage=True), percentage * total
    assert size.of(total) == ceil(hundredths / 100)
    assert 0 <= size.of(total) * 100 - hundredths < 100
    assert 0 <= hundredths - size.at_most(total) * 100 < 100
    assert (size.of(total) == 0) is (hundredths == 0)


@settings(deadline=None)
@given(
    st.integers(0, 60), st.one_of(st.just(""), small_sizes), st.one_of(st.just(""), small_batches)
)
def test_every_host_is_in_one_wave_in_order_and_no_wave_is_empty(
    total: int, canary: str, batch: str
) -> None:
    hosts = list(range(total))
    waves = cut_waves(hosts, canary, batch)
    assert [host for wave in waves for host in wave] == hosts
    assert all(waves)


@settings(deadline=None)
@given(st.integers(1, 60), small_sizes, small_batches)
def test_waves_are_as_large_as_was_asked_for(total: int, canary: str, batch: str) -> None:
    waves = cut_waves(range(total), canary, batch)
    first = min(parse_rollout_size(canary).of(total), total)
    rest = waves[1:] if first else waves
    assert not first or len(waves[0]) == first
    size = parse_rollout_size(batch).of(total)
    assert all(len(wave) == size for wave in rest[:-1])
    assert all(len(wave) <= size for wave in rest[-1:])


@pytest.mark.parametrize(
    ("canary", "batch", "waves"),
    [
        ("", "", ["abcde"]),
        ("1", "", ["a", "bcde"]),
        ("1", "2", ["a", "bc", "de"]),
        ("20 %", "50 %", ["a", "bcd", "e"]),
        ("0", "4", ["abcd", "e"]),
        ("9", "1", ["abcde"]),
    ],
)
def test_waves_are_a_canary_and_then_batches(canary: str, batch: str, waves: list[str]) -> None:
    assert ["".join(wave) for wave in cut_waves("abcde", canary, batch)] == waves


@pytest.mark.parametrize("batch", ["0", "0 %", "00"])
@pytest.mark.parametrize("hosts", ["", "abc"])
def test_a_batch_of_none_is_refused(hosts: str, batch: str) -> None:
    with pytest.raises(ValueError, match="would never finish"):
        cut_waves(hosts, "1", batch)


def test_no_hosts_are_no_waves() -> None:
    assert cut_waves([], "1", "25 %") == []


@pytest.mark.parametrize(
    ("failures", "total", "most", "too_many"),
    [
        (0, 3, "0", False),
        (1, 3, "0", True),
        (1, 3, "", True),
        (1, 3, "1", False),
        (1, 3, "10 %", True),
        (1, 10, "10 %", False),
        (2, 10, "10 %", True),
        (3, 3, "100 %", False),
    ],
)
def test_more_failures_than_allowed_are_too_many(
    failures: int, total: int, most: str, too_many: bool
) -> None:
    assert is_too_many(failures, total, most) is too_many


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(1, 100), percentages)
def test_what_is_not_too_many_is_no_larger_part_than_allowed(
    failures: int, total: int, percentage: int
) -> None:
    allowed = failures * 100 <= percentage * total
    assert is_too_many(failures, total, f"{percentage} %") is not allowed


@settings(deadline=None)
@given(totals, sizes)
def test_no_failure_is_never_too_many(total: int, most: str) -> None:
    assert not is_too_many(0, total, most)


@settings(deadline=None)
@given(totals, batches)
def test_a_batch_of_some_takes_somebody(total: int, batch: str) -> None:
    assert parse_rollout_size(batch).of(total) > 0 or total == 0
