"""Whether markers stand for the same places, decided by trying those that they tell apart."""

import pytest

from deploy_manager.requirements import places
from deploy_manager.requirements.places import (
    common_places,
    cover,
    have_common_places,
    places_without,
)

LINUX, MAC = 'sys_platform == "linux"', 'sys_platform == "darwin"'
NOT_MAC = 'sys_platform != "darwin"'
OLD, NEW = 'python_version < "3.12"', 'python_version >= "3.12"'


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", True),
        ("", LINUX, True),
        (LINUX, MAC, False),
        (OLD, NEW, False),
        (OLD, 'python_version <= "3.12"', True),
        (NEW, 'python_full_version < "3.12.0"', False),
        (NEW, 'python_full_version < "3.12.1"', True),
        ('python_version > "3.12"', 'python_version == "3.12"', False),
        ("sys_platform != 'linux'", LINUX, False),
        ('"linux" == sys_platform', LINUX, True),
        ('python_version in "3.8, 3.9"', 'python_version == "3.9"', True),
        ('python_version not in "3.8, 3.9"', 'python_version == "3.9"', False),
        ('platform_release >= "5.4"', 'platform_release < "5.4"', False),
        (LINUX, 'platform_system == "Windows"', True),
        (f"{LINUX} and {OLD}", f"{MAC} or {OLD}", True),
    ],
)
def test_two_markers_have_common_places(one: str, other: str, expected: bool) -> None:
    assert have_common_places(one, other) is expected
    assert have_common_places(other, one) is expected


@pytest.mark.parametrize(
    ("markers", "other", "expected"),
    [
        ([""], OLD, True),
        ([OLD], "", False),
        ([OLD, NEW], "", True),
        ([OLD, 'python_version > "3.12"'], "", False),
        ([OLD, 'python_version > "3.12"', 'python_version == "3.12"'], "", True),
        ([LINUX, "sys_platform != 'linux'"], MAC, True),
        ([LINUX, MAC], "", False),
        ([LINUX, MAC], f"{MAC} or {LINUX}", True),
        ([], OLD, False),
    ],
)
def test_markers_cover_another(markers: list[str], other: str, expected: bool) -> None:
    assert cover(markers, other) is expected


@pytest.mark.parametrize(
    ("marker", "others", "expected"),
    [
        ("", [], ""),
        (OLD, [], OLD),
        ("", [LINUX], 'sys_platform != "linux"'),
        ("", [LINUX, MAC], f'sys_platform != "linux" and {NOT_MAC}'),
        (NEW, ['python_version > "3.13"'], f'{NEW} and python_version <= "3.13"'),
        ("", [f"{LINUX} and {OLD}"], f'sys_platform != "linux" or {NEW}'),
        ("", [f'"win" in sys_platform or {OLD}'], f'"win" not in sys_platform and {NEW}'),
        (OLD, [f"{LINUX} or {MAC}"], f'{OLD} and (sys_platform != "linux" and {NOT_MAC})'),
        ("", ['"3.12" <= python_version'], '"3.12" > python_version'),
        ("", ['python_version == "3.12.*"'], 'python_version != "3.12.*"'),
        # These have no opposite, compare with nothing, or are everywhere.
        ("", ['python_version ~= "3.12"'], None),
        ("", ['python_version === "3.12"'], None),
        ("", ['platform_release >= "20.0"'], None),
        ("", [r'platform_version == "\d"'], None),
        (OLD, [""], None),
    ],
)
def test_the_places_that_others_leave(marker: str, others: list[str], expected: str | None) -> None:
    assert places_without(marker, others) == expected


def test_what_has_too_many_places_is_not_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_PLACES", 3)
    assert have_common_places(LINUX, f"{MAC} and {OLD}")
    assert not cover([LINUX, "sys_platform != 'linux'"], OLD)


def test_common_places_of_nested_markers_are_the_narrower_ones() -> None:
    young = 'python_version < "3.11"'
    assert common_places(young, OLD) == common_places(OLD, young) == young
    assert common_places("", OLD) == OLD
    assert common_places(LINUX, OLD) == f"{LINUX} and {OLD}"
