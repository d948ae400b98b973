"""From one lock to the next: what moves, how far, why, and what is said where nothing fits."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.moving import move_pins
from deploy_manager.requirements.pins import Pin, lock_text
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.requirements.targets import Target
from tests.parts.index import LONG_AGO, Index

DEBIAN = Target("3.11.2", platform="linux-x86_64", libc="glibc 2.36")
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def shop(package_index: Index) -> Index:
    """shopkit in six versions, each of which needs helper."""
    for version in ("1.0", "1.0.1", "1.0.2", "1.1", "2.0", "2.1"):
        package_index.add("shopkit", version, requires=("helper",))
    for version in ("1.0", "1.1"):
        package_index.add("helper", version)
    return package_index


def lock_of(index: Index, asked: str = "shopkit==1.0\n") -> str:
    return lock_text(complete_pins(asked, index_url=index.url))


def moved(
    index: Index,
    *requests: PinRequest,
    lock: str = "",
    targets: tuple[Target, ...] = (DEBIAN,),
    before: datetime | None = None,
    exempt: tuple[str, ...] = (),
) -> dict[str, str]:
    """Return the versions of what moved."""
    after = move_pins(
        lock or lock_of(index, "shopkit==1.0\nhelper==1.0\n"),
        requests,
        targets=targets,
        index_url=index.url,
        before=before,
        exempt=exempt,
    )
    return {move.name: move.after for move in after.moves}


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        (PinRequest("shopkit", Reach.EXACT, "1.1"), "1.1"),
        (PinRequest("shopkit", Reach.PATCH), "1.0.2"),
        (PinRequest("shopkit", Reach.MINOR), "1.1"),
        (PinRequest("shopkit", Reach.LATEST), "2.1"),
        (PinRequest("shopkit", Reach.FIX, fixed_in=("1.0.1", "2.1")), "1.0.2"),
        (PinRequest("shopkit", Reach.FIX, fixed_in=("1.1",)), "1.1"),
        (PinRequest("shopkit", Reach.FIX, fixed_in=("2.0",)), "2.0"),
    ],
)
def test_a_package_goes_as_far_as_is_requested_and_nothing_else_moves(
    shop: Index, wanted: PinRequest, version: str
) -> None:
    assert moved(shop, wanted) == {"shopkit": version}


def test_what_must_move_moves_and_says_for_whom(shop: Index) -> None:
    shop.add("shopkit", "2.2", requires=("helper>=1.1",))
    after = move_pins(
        lock_of(shop, "shopkit==1.0\nhelper==1.0\n"),
        [PinRequest("shopkit", Reach.LATEST)],
        index_url=shop.url,
    )
    assert {(move.name, move.after, move.why) for move in after.moves} == {
        ("shopkit", "2.2", "asked for"),
        ("helper", "1.1", "needed by shopkit 2.2"),
    }


def test_what_is_no_longer_needed_goes_and_what_is_new_comes(shop: Index) -> None:
    shop.add("shopkit", "3.0", requires=("newcomer",))
    shop.add("newcomer", "1.0")
    lock = lock_of(shop, "shopkit==1.0\n")
    after = move_pins(lock, [PinRequest("shopkit", Reach.LATEST)], index_url=shop.url)
    assert {(move.name, move.after, move.why) for move in after.moves} == {
        ("shopkit", "3.0", "asked for"),
        ("newcomer", "1.0", "needed by shopkit 3.0"),
        ("helper", "", "no longer needed"),
    }


STRIPPED = """\
helper==1.0
    # via shopkit
shopkit==1.0
    # via -r requirements.in
"""


def test_what_came_by_an_extra_that_the_lock_leaves_out_stays(shop: Index) -> None:
    """uv writes no extras by default: psycopg, not psycopg[binary], beside psycopg-binary."""
    for version in ("1.0", "1.0.1", "1.0.2"):
        shop.add("shopkit", version, requires=("helper ; extra == 'more'",))
    assert moved(shop, PinRequest("shopkit", Reach.PATCH), lock=STRIPPED) == {"shopkit": "1.0.2"}


def test_what_the_project_asks_for_itself_never_goes(shop: Index) -> None:
    shop.add("shopkit", "3.0")
    assert moved(shop, PinRequest("shopkit", Reach.LATEST)) == {"shopkit": "3.0"}


def test_a_patch_drags_nothing_over_a_minor_version(shop: Index) -> None:
    shop.add("shopkit", "1.0.3", requires=("helper>=1.1",))
    assert moved(shop, PinRequest("shopkit", Reach.PATCH)) == {"shopkit": "1.0.2"}


def test_a_fix_of_what_is_good_already_moves_nothing_down(shop: Index) -> None:
    lock = lock_of(shop, "shopkit==1.1\nhelper==1.0\n")
    assert "1.0" not in moved(
        shop, PinRequest("shopkit", Reach.FIX, fixed_in=("1.0.1",)), lock=lock
    ).get("shopkit", "")


def test_yanked_versions_are_not_taken(shop: Index) -> None:
    shop.yank("shopkit", "2.1", "It loses orders.")
    assert moved(shop, PinRequest("shopkit", Reach.LATEST)) == {"shopkit": "2.0"}


def test_extras_and_markers_stay(shop: Index) -> None:
    pins = (
        Pin("shopkit", "1.0", extras=("fast",)),
        Pin("helper", "1.0", direct=False),
        Pin("winkit", "1.0", marker="sys_platform == 'win32'"),
    )
    shop.add("winkit", "1.0")
    after = move_pins(lock_text(pins), [PinRequest("shopkit", Reach.MINOR)], index_url=shop.url)
    found = {pin.name: pin for pin in after.pins}
    assert found["shopkit"].requirement == "shopkit[fast]==1.1"
    assert found["winkit"].marker == 'sys_platform == "win32"'
    assert [found[name].direct for name in ("shopkit", "helper", "winkit")] == [True, False, True]


class TestCooldown:
    def test_what_is_too_young_is_left(self, shop: Index) -> None:
        shop.add("shopkit", "2.2", requires=("helper",), uploaded=NOW - timedelta(days=1))
        request = PinRequest("shopkit", Reach.LATEST)
        assert moved(shop, request, before=NOW - timedelta(days=3)) == {"shopkit": "2.1"}

    def test_unless_it_is_exempt(self, shop: Index) -> None:
        shop.add("shopkit", "2.2", requires=("helper",), uploaded=NOW - timedelta(days=1))
        request = PinRequest("shopkit", Reach.LATEST)
        found = moved(shop, request, before=NOW - timedelta(days=3), exempt=("shopkit",))
        assert found == {"shopkit": "2.2"}

    def test_a_young_pin_stays_where_it_is(self, shop: Index) -> None:
        shop.add("helper", "1.2", uploaded=NOW - timedelta(days=1))
        lock = lock_of(shop, "shopkit==1.0\nhelper==1.2\n")
        request = PinRequest("shopkit", Reach.LATEST)
        assert moved(shop, request, lock=lock, before=NOW - timedelta(days=3)) == {"shopkit": "2.1"}

    def test_a_young_pin_that_is_wished_for_stays_too(self, shop: Index) -> None:
        shop.add("shopkit", "2.2", requires=("helper",), uploaded=NOW - timedelta(days=2))
        shop.add("shopkit", "2.3", requires=("helper",), uploaded=NOW - timedelta(days=1))
        lock = lock_of(shop, "shopkit==2.2\nhelper==1.0\n")
        request = PinRequest("shopkit", Reach.LATEST)
        assert moved(shop, request, lock=lock, before=NOW - timedelta(days=3)) == {}

    def test_an_index_that_shows_no_upload_times_is_no_reason_to_fail(self, shop: Index) -> None:
        shop.speaks_json = False
        request = PinRequest("shopkit", Reach.LATEST)
        assert moved(shop, request, before=NOW, exempt=("shopkit",)) == {"shopkit": "2.1"}


class TestNoSolution:
    def test_it_is_reported_in_words(self, shop: Index) -> None:
        shop.add("shopkit", "3.0", requires=("helper>=7",))
        with pytest.raises(PinError) as refusal:
            moved(shop, PinRequest("shopkit", Reach.EXACT, "3.0"))
        words = str(refusal.value)
        assert words.startswith("No set of versions fits with shopkit==3.0:\n")
        assert "helper" in words
        assert "/tmp" not in words

    def test_a_version_that_there_is_not(self, shop: Index) -> None:
        with pytest.raises(PinError, match="shopkit==9"):
            moved(shop, PinRequest("shopkit", Reach.EXACT, "9"))

    def test_a_package_that_is_not_pinned(self, shop: Index) -> None:
        with pytest.raises(PinError, match="nowhere is not among the pins"):
            moved(shop, PinRequest("nowhere", Reach.LATEST))

    def test_an_index_that_is_down(self, shop: Index) -> None:
        lock = lock_of(shop)
        shop.down = True
        with pytest.raises(PinError, match="No set of versions fits"):
            moved(shop, PinRequest("shopkit", Reach.LATEST), lock=lock)


class TestTargets:
    def test_one_python_is_resolved_for_exactly(self, shop: Index) -> None:
        shop.add("shopkit", "3.0", requires=("helper",), requires_python=">=3.12")
        assert moved(shop, PinRequest("shopkit", Reach.LATEST)) == {"shopkit": "2.1"}
        newer = Target("3.12.1", platform="linux-x86_64", libc="glibc 2.36")
        found = moved(shop, PinRequest("shopkit", Reach.LATEST), targets=(newer,))
        assert found == {"shopkit": "3.0"}

    def test_several_are_resolved_for_from_the_oldest(self, shop: Index) -> None:
        shop.add("shopkit", "3.0", requires=("helper",), requires_python=">=3.12")
        newer = Target("3.12.1", platform="linux-x86_64", libc="glibc 2.36")
        after = move_pins(
            lock_of(shop),
            [PinRequest("shopkit", Reach.LATEST)],
            targets=(DEBIAN, newer),
            index_url=shop.url,
        )
        for target in (DEBIAN, newer):
            assert target.python
        assert "2.1" in {move.after for move in after.moves if move.name == "shopkit"}.pop()

    @pytest.mark.parametrize(
        ("platform", "libc", "name"),
        [
            ("linux-x86_64", "glibc 2.36", "x86_64-manylinux_2_36"),
            ("linux-aarch64", "glibc 2.30", "aarch64-manylinux_2_28"),
            ("linux-x86_64", "glibc 2.99", "x86_64-manylinux_2_40"),
            ("linux-x86_64", "glibc 2.5", ""),
            ("linux-x86_64", "musl 1.2", "x86_64-unknown-linux-musl"),
            ("linux-riscv64", "glibc 2.36", ""),
            ("linux-x86_64", "", ""),
            ("", "", ""),
        ],
    )
    def test_a_platform_is_named_as_uv_names_it(self, platform: str, libc: str, name: str) -> None:
        assert Target("3.11.2", platform=platform, libc=libc).uv_platform == name


def test_pip_installs_the_new_lock(shop: Index, tmp_path: Path) -> None:
    after = move_pins(
        lock_of(shop), [PinRequest("shopkit", Reach.LATEST)], targets=(DEBIAN,), index_url=shop.url
    )
    lock = tmp_path / "requirements.txt"
    lock.write_text(lock_text(after.pins))
    words = ["install", "--dry-run", "--quiet", "--no-deps", "--require-hashes"]
    target = ["--target", str(tmp_path / "there"), "--index-url", shop.url, "-r", str(lock)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, *target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_was_uploaded_long_ago_is_old_enough(shop: Index) -> None:
    request = PinRequest("shopkit", Reach.LATEST)
    assert moved(shop, request, before=LONG_AGO + timedelta(days=1)) == {"shopkit": "2.1"}
