"""What an upgrade moved over a repository's pins: what holds, what ends, what is installed."""

import pytest

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.fitting import check_fit
from deploy_manager.requirements.overriding import HeldPackage, Standing, put_over
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.targets import Target
from tests.parts.index import Index

OLD, NEW = 'python_version < "3.12"', 'python_version >= "3.12"'
SHA = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def pins(*lines: str) -> tuple[Pin, ...]:
    return read_pins("".join(f"{line}\n" for line in lines))


def held(line: str, *before: str) -> HeldPackage:
    """One package as an upgrade left it, and what the repository had."""
    found = pins(*line.split(" & "))
    return HeldPackage(found[0].name, found, before)


def told(after: tuple[Pin, ...]) -> list[str]:
    return [pin.requirement for pin in after]


@pytest.mark.parametrize(
    ("repository", "override", "standing", "installed"),
    [
        ("kit==1.0", ("kit==1.0.2", "1.0"), Standing.HOLDS, "kit==1.0.2"),
        ("kit==1.0.2", ("kit==1.0.2", "1.0"), Standing.CAUGHT_UP, "kit==1.0.2"),
        ("kit==1.0.10", ("kit==1.0.9", "1.0"), Standing.CAUGHT_UP, "kit==1.0.10"),
        ("kit==0.9", ("kit==1.0.2", "1.0"), Standing.HOLDS, "kit==1.0.2"),
        ("kit==2.0rc1", ("kit==2.0", "1.0"), Standing.HOLDS, "kit==2.0"),
        ("kit==2.0", ("kit==2.0rc1", "1.0"), Standing.CAUGHT_UP, "kit==2.0"),
        ("kit==2.0", ("kit==2.0.post1", "2.0"), Standing.HOLDS, "kit==2.0.post1"),
        ("kit==2026.1", ("kit==1!1.0", "2026.1"), Standing.HOLDS, "kit==1!1.0"),
        ("kit==1!0.1", ("kit==2026.1", "1.0"), Standing.CAUGHT_UP, "kit==1!0.1"),
        ("kit==1.0", ("kit==1.0+ours", "1.0"), Standing.HOLDS, "kit==1.0+ours"),
        ("kit==1.0+ours", ("kit==1.0", "0.9"), Standing.CAUGHT_UP, "kit==1.0+ours"),
        # Moved down, away from a version that was bad: it holds until the repository moves.
        ("kit==2.0", ("kit==1.9", "2.0"), Standing.HOLDS, "kit==1.9"),
        ("kit==2.1", ("kit==1.9", "2.0"), Standing.CAUGHT_UP, "kit==2.1"),
        ("kit==1.9", ("kit==1.9", "2.0"), Standing.CAUGHT_UP, "kit==1.9"),
        # The very same version, spelled otherwise.
        ("kit==2.0.0", ("kit==1.9", "2.0"), Standing.HOLDS, "kit==1.9"),
        ("kit==2.0", ("kit==1.9", "2.0.0"), Standing.HOLDS, "kit==1.9"),
    ],
)
def test_the_higher_of_both_is_installed_until_the_repository_has_it(
    repository: str, override: tuple[str, str], standing: Standing, installed: str
) -> None:
    laid = put_over(pins(repository, "other==1.0"), [held(*override)])
    assert laid.standings == {"kit": standing}
    assert told(laid.pins) == [installed, "other==1.0"]


def test_a_package_that_the_repository_dropped_does_not_come_back() -> None:
    laid = put_over(pins("other==1.0"), [held("kit==1.0.2", "1.0")])
    assert laid.standings == {"kit": Standing.DROPPED}
    assert told(laid.pins) == ["other==1.0"]


@pytest.mark.parametrize(
    ("repository", "newcomer", "gone"),
    [
        (("kit==1.0", "gone==1.0"), Standing.HOLDS, Standing.HOLDS),
        (("kit==2.0", "gone==1.0"), Standing.NOT_NEEDED, Standing.NOT_NEEDED),
        (("kit==1.0",), Standing.HOLDS, Standing.CAUGHT_UP),
        (("kit==1.0", "gone==1.1"), Standing.HOLDS, Standing.CAUGHT_UP),
        (("kit==1.0", "gone==1.0", "newcomer==3.0"), Standing.CAUGHT_UP, Standing.HOLDS),
    ],
)
def test_what_came_and_went_for_another_stays_so_as_long_as_that_one_holds(
    repository: tuple[str, ...], newcomer: Standing, gone: Standing
) -> None:
    packages = [
        held("kit==2.0", "1.0"),
        held("newcomer==2.0"),
        HeldPackage("gone", (), ("1.0",)),
    ]
    laid = put_over(pins(*repository), packages)
    assert (laid.standings["newcomer"], laid.standings["gone"]) == (newcomer, gone)
    names = {pin.name for pin in laid.pins}
    assert ("gone" in names) == (gone is not Standing.HOLDS and len(repository) > 1)
    assert ("newcomer" in names) == (
        newcomer is Standing.HOLDS or any("newcomer" in line for line in repository)
    )


@pytest.mark.parametrize(
    ("kit", "moved_with", "standing"),
    [
        ("kit==1.0", {"kit", "gone"}, Standing.HOLDS),
        ("kit==2.0", {"kit", "gone"}, Standing.NOT_NEEDED),
        # A later upgrade moved it on.
        ("kit==2.0", {"kit", "gone", "unrelated"}, Standing.HOLDS),
        ("kit==1.0", set(), Standing.NOT_NEEDED),
    ],
)
def test_a_removal_holds_as_long_as_its_own_upgrade_does(
    kit: str, moved_with: set[str], standing: Standing
) -> None:
    packages = [
        held("kit==2.0", "1.0"),
        HeldPackage("gone", (), ("1.0",), frozenset(moved_with)),
        held("unrelated==2.0", "1.0"),
        held("newcomer==2.0"),
    ]
    laid = put_over(pins(kit, "gone==1.0", "unrelated==1.0"), packages)
    assert laid.standings["gone"] is standing
    assert ("gone==1.0" in told(laid.pins)) == (standing is Standing.NOT_NEEDED)
    assert laid.standings["newcomer"] is Standing.HOLDS


@pytest.mark.parametrize(
    ("repository", "override", "installed"),
    [
        # The same markers: each by itself.
        (
            (f"kit==1.0 ; {OLD}", f"kit==2.0 ; {NEW}"),
            f"kit==1.1 ; {OLD} & kit==2.0 ; {NEW}",
            [f"kit==1.1 ; {OLD}", f"kit==2.0 ; {NEW}"],
        ),
        (
            (f"kit==1.0 ; {OLD}", f"kit==2.2 ; {NEW}"),
            f"kit==1.1 ; {OLD} & kit==2.1 ; {NEW}",
            [f"kit==1.1 ; {OLD}", f"kit==2.2 ; {NEW}"],
        ),
        # The upgrade needed other markers than the repository has.
        (
            ("kit==1.0",),
            f"kit==1.1 ; {OLD} & kit==2.0 ; {NEW}",
            [f"kit==1.1 ; {OLD}", f"kit==2.0 ; {NEW}"],
        ),
        (
            ("kit==1.5",),
            f"kit==1.1 ; {OLD} & kit==2.0 ; {NEW}",
            [f"kit==1.5 ; {OLD}", f"kit==2.0 ; {NEW}"],
        ),
        ((f"kit==1.0 ; {OLD}", f"kit==2.0 ; {NEW}"), "kit==2.1", ["kit==2.1"]),
        # The repository tells places apart by now, and has more in one of them.
        (
            (f"kit==1.0 ; {OLD}", f"kit==2.2 ; {NEW}"),
            "kit==2.1",
            [f"kit==2.1 ; {OLD}", f"kit==2.2 ; {NEW}"],
        ),
    ],
)
def test_each_marker_gets_the_higher_of_both(
    repository: tuple[str, ...], override: str, installed: list[str]
) -> None:
    assert told(put_over(pins(*repository), [held(override, "1.0")]).pins) == installed


LINUX, MAC, WINDOWS = (f'sys_platform == "{name}"' for name in ("linux", "darwin", "win32"))
YOUNG = 'python_version < "3.11"'
INTEL, ARM = (f'platform_machine == "{name}"' for name in ("x86_64", "aarch64"))


@pytest.mark.parametrize(
    ("repository", "override", "installed"),
    [
        # The commit needs it on every Python by now, and the upgrade knew a part of them.
        (("kit==1.0",), f"kit==1.0.2 ; {YOUNG}", ["kit==1.0.2"]),
        ((f"kit==1.0 ; {OLD}",), f"kit==1.0.2 ; {YOUNG}", [f"kit==1.0.2 ; {OLD}"]),
        # What it knows of each part stays; the others get the newest.
        (
            ("kit==1.0",),
            f'kit==1.1 ; {YOUNG} & kit==2.0 ; python_version == "3.11"',
            [f"kit==1.1 ; {YOUNG}", 'kit==2.0 ; python_version >= "3.11"'],
        ),
        (
            ("kit==1.0",),
            f"kit==1.1 ; {INTEL} & kit==1.0 ; {ARM}",
            [f"kit==1.0 ; {ARM}", 'kit==1.1 ; platform_machine != "aarch64"'],
        ),
        (
            (f"kit==1.0 ; {OLD}",),
            f'kit==1.1 ; {INTEL} & kit==1.0 ; {ARM} or "riscv" in platform_machine',
            [
                f'kit==1.0 ; ({ARM} or "riscv" in platform_machine) and {OLD}',
                f'kit==1.1 ; {OLD} and (platform_machine != "aarch64"'
                ' and "riscv" not in platform_machine)',
            ],
        ),
        # No marker says where else: the newest is nowhere too old.
        (
            ("kit==1.0",),
            'kit==1.1 ; python_version == "3.13" & kit==1.0.2 ; python_version ~= "3.11.0"',
            ["kit==1.1"],
        ),
        # A platform that the upgrade did not know keeps what the repository has there.
        (
            (f"kit==1.0 ; {LINUX}", f"kit==1.0 ; {MAC}"),
            f"kit==1.0.2 ; {WINDOWS} & kit==1.0.2 ; {LINUX}",
            [f"kit==1.0.2 ; {LINUX}", f"kit==1.0 ; {MAC}"],
        ),
        # The same places in other words can't be told from others: none is left out.
        (
            ('kit==1.0 ; platform_system == "Linux"',),
            f"kit==1.0.2 ; {LINUX}",
            ['kit==1.0.2 ; platform_system == "Linux"'],
        ),
        # The repository needs it in fewer places by now: it does not come back in the others.
        ((f"kit==1.0 ; {OLD}",), "kit==1.0.2", [f"kit==1.0.2 ; {OLD}"]),
        (
            (f"kit==1.0 ; {OLD}",),
            f'kit==1.1 ; {YOUNG} & kit==2.0 ; python_version >= "3.11"',
            [f"kit==1.1 ; {YOUNG}", f'kit==2.0 ; python_version >= "3.11" and {OLD}'],
        ),
        # Full versions are places of the same kind.
        (
            ("kit==1.0",),
            'kit==1.1 ; python_full_version < "3.11.4" & kit==2.0 ; python_full_version'
            ' >= "3.11.4"',
            [
                'kit==1.1 ; python_full_version < "3.11.4"',
                'kit==2.0 ; python_full_version >= "3.11.4"',
            ],
        ),
        (("kit==1.0",), f"kit==1.1 ; 'win' in sys_platform & kit==1.1 ; {LINUX}", ["kit==1.1"]),
    ],
)
def test_no_place_that_the_repository_lists_loses_a_package(
    repository: tuple[str, ...], override: str, installed: list[str]
) -> None:
    laid = put_over(pins(*repository), [held(override, "1.0")])
    assert sorted(told(laid.pins)) == sorted(told(pins(*installed)))
    assert laid.standings == {"kit": Standing.HOLDS}


def test_a_version_that_an_upgrade_left_is_lowered_in_no_place_that_it_kept_it_in() -> None:
    override = held(f"kit==1.0 ; {LINUX} & kit==2.0 ; {WINDOWS}", "2.0")
    laid = put_over(pins("kit==2.0"), [override])
    assert told(laid.pins) == [
        f"kit==2.0 ; {WINDOWS}",
        'kit==1.0 ; sys_platform != "win32"',
    ]


def test_a_place_that_the_repository_no_longer_has_keeps_no_override_alive() -> None:
    override = held(f"kit==1.0.2 ; {WINDOWS} & kit==1.0.2 ; {LINUX}", "1.0")
    laid = put_over(pins(f"kit==1.0.2 ; {LINUX}", f"kit==1.0 ; {MAC}"), [override])
    assert laid.standings == {"kit": Standing.CAUGHT_UP}
    assert set(told(laid.pins)) == {f"kit==1.0.2 ; {LINUX}", f"kit==1.0 ; {MAC}"}


def test_an_override_ends_if_the_repository_lists_nothing_in_its_places_any_more() -> None:
    laid = put_over(pins(f"kit==1.0 ; {WINDOWS}"), [held(f"kit==1.0.2 ; {LINUX}", "1.0")])
    assert laid.standings == {"kit": Standing.DROPPED}
    assert told(laid.pins) == [f"kit==1.0 ; {WINDOWS}"]


def test_a_package_that_an_upgrade_removed_stays_out_however_its_version_is_spelled() -> None:
    packages = [held("kit==2.0", "1.0"), HeldPackage("gone", (), ("1.0",))]
    laid = put_over(pins("kit==1.0", "gone==1.0.0"), packages)
    assert told(laid.pins) == ["kit==2.0"]


def test_extras_are_the_repositorys_and_hashes_those_of_the_version() -> None:
    repository = pins(f"kit[fast,tidy]==1.0 --hash={SHA}", f"other==1.0 --hash={SHA}")
    (kit, _other) = put_over(repository, [held(f"kit[fast]==1.1 --hash={OTHER}", "1.0")]).pins
    assert (kit.requirement, kit.hashes) == ("kit[fast,tidy]==1.1", (OTHER,))
    (kit, _other) = put_over(repository, [held(f"kit==0.9 --hash={OTHER}", "0.8")]).pins
    assert (kit.version, kit.hashes) == ("1.0", (SHA,))


def test_a_repository_without_hashes_stays_without() -> None:
    laid = put_over(pins("kit==1.0", "other==1.0"), [held(f"kit==1.1 --hash={OTHER}", "1.0")])
    assert [pin.hashes for pin in laid.pins] == [(), ()]


def test_hashes_for_all_but_an_override_are_no_lock() -> None:
    with pytest.raises(PinError, match="not for kit"):
        put_over(
            pins(f"kit==1.0 --hash={SHA}", f"other==1.0 --hash={SHA}"), [held("kit==1.1", "1.0")]
        )


@pytest.fixture
def shelf(package_index: Index) -> Index:
    package_index.add("kit", "1.0", requires=("helper",))
    package_index.add("kit", "1.1", requires=("helper>=2", "newcomer; python_version < '3.12'"))
    package_index.add("kit", "2.0rc1", requires_python=">=3.12")
    for version in ("1.0", "2.0"):
        package_index.add("helper", version)
    package_index.add("newcomer", "1.0")
    package_index.add("old", "1.0", requires=("helper>=2",), as_sdist=True)
    return package_index


LATE, EARLY = Target("3.13.1", platform="linux-x86_64", libc="glibc 2.36"), Target("3.11.2")


@pytest.mark.parametrize(
    ("lines", "targets", "why"),
    [
        (("kit==1.0", "helper==1.0"), (), ""),
        (("kit==1.1", "helper==2.0"), (LATE,), ""),
        (("kit==1.1", "helper==1.0"), (LATE,), "helper>=2"),
        (("kit==1.1", "helper==2.0"), (LATE, EARLY), "They need newcomer==1.0"),
        (("kit==1.1", "helper==2.0", f"newcomer==1.0 ; {OLD}"), (LATE, EARLY), ""),
        (("kit==2.0rc1",), (LATE,), ""),
        (("kit==2.0rc1",), (EARLY,), "Python"),
        ((f"kit==1.1 ; {NEW}",), (EARLY,), ""),
        (("old==1.0", "helper==2.0"), (), ""),  # a source, which declares what it needs
        (("old==1.0", "helper==1.0"), (), "helper>=2"),
    ],
)
def test_a_set_fits_or_uv_says_why_not(
    shelf: Index, lines: tuple[str, ...], targets: tuple[Target, ...], why: str
) -> None:
    if not why:
        check_fit(pins(*lines), targets, shelf.url)
        return
    with pytest.raises(PinError, match=why):
        check_fit(pins(*lines), targets, shelf.url)
