"""Which packages a policy would upgrade, which it leaves alone, and what it does not know."""

from datetime import date
from typing import Any

import pytest

from deploy_manager.models import Environment, LockFile, Release, UpgradePolicy
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.candidates import Candidates, few, find_candidates
from tests.parts.packages import advise, audit, make_environment, pin, place, see

pytestmark = [pytest.mark.database, pytest.mark.django_db]

TODAY = date(2026, 11, 24)
SECURITY = UpgradePolicy.HowFar.SECURITY


@pytest.fixture
def site() -> Environment:
    """An environment on one server, with the pins that are listed on it."""
    made = make_environment("production", "one")
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    made.refresh_from_db()
    pin(made, "django==5.2.7", "celery==5.3.0", "kombu==5.3.0")
    see(place(made, "one"), "django==5.2.7", "celery==5.3.0", "kombu==5.3.0")
    return made


def make_policy(how_far: str = SECURITY, **fields: Any) -> UpgradePolicy:
    return UpgradePolicy.objects.create(name="nightly", how_far=how_far, cron="0 2 * * *", **fields)


def find(policy: UpgradePolicy, *sites: Environment, today: date = TODAY) -> Candidates:
    return find_candidates(policy, sites, today)


def requests(found: Candidates) -> list[PinRequest]:
    return [options for group in found.groups for options in group]


def test_a_security_policy_wants_what_is_vulnerable_and_fixed(site: Environment) -> None:
    advise("PYSEC-1", "django", "5.2.7", fixed_in=("4.2.9", "5.2.8"))
    advise("PYSEC-2", "django", "5.2.7", fixed_in=("5.2.9",))
    audit("celery==5.3.0", "kombu==5.3.0")
    found = find(make_policy(), site)
    assert found.groups == ((PinRequest("django", Reach.FIX, fixed_in=("5.2.9",)),),)
    assert found.exempt == {"django"}
    assert found.report == ()


def test_what_nobody_has_fixed_is_reported_and_not_wanted(site: Environment) -> None:
    advise("PYSEC-1", "django", "5.2.7")
    audit("celery==5.3.0", "kombu==5.3.0")
    found = find(make_policy(), site)
    assert found.groups == ()
    assert found.report == ("django has no version yet that fixes PYSEC-1.",)


def test_what_is_pinned_to_a_commit_is_left_to_people(site: Environment) -> None:
    commit = "a" * 40
    site.requirements.filter(name="kombu").update(
        url=f"git+https://host.test/kombu.git@{commit}", version=f"0+g{commit}"
    )
    found = find(make_policy(UpgradePolicy.HowFar.MINOR), site)
    assert [each.name for each in requests(found)] == ["celery", "django"]
    assert found.report == (
        "Left alone: kombu. Pinned to a commit or a file, which only people move.",
    )


def test_what_was_not_checked_or_in_vain_is_unknown_and_never_safe(site: Environment) -> None:
    audit("celery==5.3.0", problem="The database is down.")
    audit("kombu==5.3.0", "django==5.2.8")
    found = find(make_policy(), site)
    assert found.considered == 1
    assert found.report == (
        "Unknown: 2 versions could not be checked for advisories: celery 5.3.0, django 5.2.7.",
    )


def test_servers_that_told_nothing_are_named(site: Environment) -> None:
    audit("django==5.2.7", "celery==5.3.0", "kombu==5.3.0")
    site.placements.update(inventory_problem="No Python there.")
    assert find(make_policy(), site).report == ("Unknown: what is installed on one.",)


def test_what_is_vulnerable_but_not_what_is_pinned_is_reported(site: Environment) -> None:
    audit("django==5.2.7", "celery==5.3.0", "kombu==5.3.0")
    advise("PYSEC-1", "pip", "20.0", fixed_in=("24.0",))
    see(place(site, "one"), "pip==20.0")
    found = find(make_policy(), site)
    assert found.groups == ()
    assert found.report == (
        "Vulnerable and installed, but not pinned: pip 20.0. Converge, or pin it.",
    )


@pytest.mark.parametrize("how_far", ["patch", "minor", "latest"])
def test_other_policies_want_all_that_is_pinned(site: Environment, how_far: str) -> None:
    advise("PYSEC-1", "django", "5.2.7", fixed_in=("5.2.8",))
    found = find(make_policy(how_far), site)
    names = ("celery", "django", "kombu")
    assert found.groups == (tuple(PinRequest(name, Reach(how_far)) for name in names),)
    assert found.exempt == {"django"}
    assert found.report == ()


def test_security_fixes_may_be_told_to_cool_down(site: Environment) -> None:
    advise("PYSEC-1", "django", "5.2.7", fixed_in=("5.2.8",))
    assert find(make_policy("patch", security_skips_cooldown=False), site).exempt == frozenset()


def test_only_the_packages_of_the_policy_count(site: Environment) -> None:
    found = find(make_policy("patch", packages=["celery", "flask"]), site)
    assert [options.name for options in requests(found)] == ["celery"]
    assert found.report == ("Not pinned here: flask.",)


def test_each_group_is_an_upgrade_of_its_own_and_the_rest_another(site: Environment) -> None:
    pin(site, "requests==2.0", "idna==3.0")
    policy = make_policy("patch", groups=[["celery", "kombu"], ["flask"], ["idna", "kombu"]])
    found = find(policy, site)
    assert [[options.name for options in group] for group in found.groups] == [
        ["celery", "kombu"],
        ["idna"],
        ["django", "requests"],
    ]


@pytest.mark.parametrize("how_far", ["security", "patch"])
def test_an_ignored_package_is_left_alone_until_its_day_has_passed(
    site: Environment, how_far: str
) -> None:
    advise("PYSEC-1", "django", "5.2.7", fixed_in=("5.2.8",))
    audit("celery==5.3.0", "kombu==5.3.0")
    policy = make_policy(how_far)
    policy.ignored.create(package="django", reason="Breaks the shop.", until=TODAY)
    found = find(policy, site)
    assert "django" not in [options.name for options in requests(found)]
    assert found.ignored == {"django": "Breaks the shop."}
    assert found.report == ("Left alone until 2026-11-24: django. Breaks the shop.",)
    later = find(policy, site, today=date(2026, 11, 25))
    assert "django" in [options.name for options in requests(later)]
    assert (later.report, later.ignored) == ((), {})


def test_one_advisory_may_be_ignored_under_any_of_its_names(site: Environment) -> None:
    advise("PYSEC-1", "django", "5.2.7", fixed_in=("5.2.8",))
    audit("celery==5.3.0", "kombu==5.3.0")
    policy = make_policy()
    policy.ignored.create(package="django", advisory="CVE-2026-0001", reason="Not used here.")
    found = find(policy, site)
    assert found.groups == ()
    assert found.report == ("Left alone: django (CVE-2026-0001). Not used here.",)
    assert found.ignored == {}


def test_what_serves_counts_where_the_repository_says_what_is_installed(site: Environment) -> None:
    other = make_environment("staging", "two")
    lock = LockFile.objects.of("f" * 64, "flask==3.0\n")
    release = Release.objects.create(environment=other, name="r1", commit="c" * 40, lock=lock)
    other.placements.update(active_release=release)
    pin(other, "rubbish==1")
    found = find(make_policy("latest"), site, other)
    assert [options.name for options in requests(found)] == ["celery", "django", "flask", "kombu"]


def test_queries_do_not_grow_with_packages(
    site: Environment, django_assert_max_num_queries: Any
) -> None:
    pin(site, *(f"package-{number}==1" for number in range(100)))
    advise("PYSEC-1", "package-1", "1", fixed_in=("2",))
    policy = make_policy()
    with django_assert_max_num_queries(7):
        find(policy, site)


def test_long_lists_are_cut() -> None:
    assert few(["a"]) == "a"
    assert few([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
