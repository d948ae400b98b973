"""Whether a Python has what is pinned for it: one judge, whoever asks."""

import pytest
from django.test import Client

from deploy_manager.drift import (
    Deviation,
    Pinned,
    Verdict,
    deviations_of,
    judge,
    markers_of,
    wanted_of,
)
from deploy_manager.models import Placement
from deploy_manager.packages.drift import drift
from tests.parts.admin import visitor
from tests.parts.packages import cells_of, look, make_environment, pin, place, see

LINUX = markers_of("CPython", "3.12.4", "linux-x86_64")
PINS = {
    "django": [Pinned("5.2.8")],
    "tzdata": [Pinned("2025.1", "sys_platform == 'win32'")],
    "numpy": [Pinned("1.26", "python_version < '3.12'"), Pinned("2.1", "python_version >= '3.12'")],
}


@pytest.mark.parametrize(
    ("name", "version", "verdict"),
    [
        ("django", "5.2.8", Verdict.AS_PINNED),
        ("django", "5.2.8.0", Verdict.AS_PINNED),
        ("django", "5.2.8+debian1", Verdict.AS_PINNED),
        ("django", "5.2.7", Verdict.OTHER),
        ("django", "odd version", Verdict.OTHER),
        ("django", None, Verdict.MISSING),
        ("numpy", "2.1", Verdict.AS_PINNED),
        ("numpy", "1.26", Verdict.OTHER),
        ("tzdata", None, Verdict.AS_PINNED),
        ("tzdata", "2025.1", Verdict.EXTRA),
        ("rich", "14.0", Verdict.EXTRA),
        ("pip", "25.0", Verdict.AS_PINNED),
    ],
)
def test_a_version_is_judged_by_the_pins_meant_for_it(
    name: str, version: str | None, verdict: Verdict
) -> None:
    assert judge(name, version, wanted_of(PINS, LINUX).get(name)) is verdict


def test_where_the_python_is_not_known_no_marker_rules_anything_out() -> None:
    wanted = wanted_of(PINS, None)
    assert wanted["numpy"].versions == ("1.26", "2.1")
    assert judge("numpy", "1.26", wanted["numpy"]) is Verdict.AS_PINNED
    assert judge("numpy", None, wanted["numpy"]) is Verdict.AS_PINNED


def test_all_that_deviations_is_reported_by_name() -> None:
    found = deviations_of({"django": "5.2.7", "rich": "14.0"}, wanted_of(PINS, LINUX))
    assert found == [
        Deviation("django", "5.2.7", "5.2.8"),
        Deviation("numpy", "", "2.1"),
        Deviation("rich", "14.0", ""),
    ]


@pytest.fixture
def owner(db: None) -> Client:
    return visitor("owner")


def test_matrix_and_command_say_the_same(owner: Client) -> None:
    site = make_environment("production", "old", "new", "odd", "down")
    for name, pins in PINS.items():
        pin(site, *(f"{name}=={one.version} ; {one.marker}".rstrip(" ;") for one in pins))
    see(place(site, "old"), "django==5.2.8", "numpy==1.26", "pip==24.0", python="3.11.2")
    see(place(site, "new"), "django==5.2.8+local", "numpy==2.1", "pip==25.0")
    assert drift([site]) == []
    see(place(site, "odd"), "django==5.2.8", "numpy==1.26", "tzdata==2025.1")
    see(place(site, "down"), "django==4.0")
    Placement.objects.filter(server__name="down").update(inventory_problem="It is down.")
    assert [each.name for each in drift([site])] == ["numpy", "tzdata"]
    page = look(owner, only="all")
    kinds = {name: [cell.kind for cell in cells_of(page, name)] for name in ("numpy", "tzdata")}
    assert kinds == {
        "numpy": ["unaudited", "unaudited", "other", "unknown"],
        "tzdata": ["extra"],
    }


def test_without_pins_servers_are_compared_with_each_other(db: None) -> None:
    site = make_environment("production", "one", "two")
    see(place(site, "one"), "django==5.2.8", "rich==14.0")
    see(place(site, "two"), "django==5.2.8")
    (found,) = drift([site])
    assert (found.name, found.pinned, list(found.versions)) == ("rich", (), ["14.0", ""])
