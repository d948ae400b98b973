"""What a policy does at its time, and what it says of it: with a real index and resolver."""

import pytest

from deploy_manager.models import OnFailure, Override, Upgrade, UpgradePolicy, UpgradeState
from tests.owners import owner
from tests.parts.packages import audit
from tests.policies import HOW_FAR, Watched, days_ago

pytestmark = pytest.mark.django_db(transaction=True)
MOVE = "shopkit 1.0 → 1.0.1"


@pytest.mark.database
def test_what_is_vulnerable_is_upgraded_and_the_outcome_says_so(watched: Watched) -> None:
    watched.is_vulnerable()
    watched.change(soak=10, on_failure=OnFailure.STOP)
    outcome = watched.run()
    upgrade = Upgrade.objects.get()
    assert outcome == f"Upgrade #{upgrade.pk}: {MOVE} (shop/production)."
    assert watched.versions(upgrade) == {"shopkit": "1.0.1"}
    assert (upgrade.policy_run, upgrade.source) == (watched.last, "policy")
    assert (upgrade.requested_by_name, upgrade.requested_by) == ("nightly", owner())
    assert (upgrade.soak, upgrade.on_failure) == (600, OnFailure.STOP)


def test_nothing_to_do_is_given_and_what_is_unknown_too(watched: Watched) -> None:
    assert watched.run() == (
        "Nothing to do: 1 package was checked, and there is no fix to install.\n"
        "Unknown: 1 version could not be checked for advisories: shopkit 1.0."
    )
    audit("shopkit==1.0")
    assert watched.run() == (
        "Nothing to do: 2 packages were checked, and there is no fix to install."
    )
    watched.change(how_far=HOW_FAR.PATCH, packages=["helper"])
    assert watched.run() == "Nothing to do: 1 package is as new as this policy allows."
    assert not Upgrade.objects.exists()


@pytest.mark.database
def test_environments_take_their_turns(watched: Watched) -> None:
    staging = watched.add_environment("staging", order=0)
    watched.add_environment("empty", order=7)
    watched.serve("shopkit==1.0\n", staging)
    watched.is_vulnerable()
    outcome = watched.run()
    assert "(shop/staging, shop/production)." in outcome
    assert "No release serves on shop/empty yet." in outcome
    stages = Upgrade.objects.get().stages.order_by("number")
    assert [str(stage.environment) for stage in stages] == ["shop/staging", "shop/production"]


def test_a_young_version_cools_down_unless_it_is_a_security_fix(watched: Watched) -> None:
    watched.index.add("shopkit", "1.0.2", uploaded=days_ago(1))
    watched.index.add("helper", "1.0.2", uploaded=days_ago(1))
    watched.index.add("helper", "1.0.1", uploaded=days_ago(4))
    watched.is_vulnerable(fixed_in="1.0.2")
    watched.change(how_far=HOW_FAR.PATCH, cooldown=3)
    watched.run()
    assert watched.versions(Upgrade.objects.get()) == {"shopkit": "1.0.2", "helper": "1.0.1"}


def test_security_fixes_cool_down_where_the_policy_says_so(watched: Watched) -> None:
    watched.index.add("shopkit", "1.0.2", uploaded=days_ago(1))
    watched.is_vulnerable(fixed_in="1.0.2")
    watched.change(cooldown=3, security_skips_cooldown=False)
    watched.run()
    assert not Upgrade.objects.exists()


def test_each_group_is_an_upgrade_of_its_own(watched: Watched) -> None:
    watched.index.add("helper", "1.0.3")
    staging = watched.add_environment("staging", order=2)
    watched.serve("helper==1.0\n", staging)
    watched.environment.placements.update(active_release=watched.serve("shopkit==1.0\n"))
    watched.change(how_far=HOW_FAR.PATCH, groups=[["shopkit"]], most_at_once=2)
    outcome = watched.run()
    first, second = Upgrade.objects.order_by("pk")
    assert outcome.splitlines()[:2] == [
        f"Upgrade #{first.pk}: {MOVE} (shop/production).",
        f"Upgrade #{second.pk}: helper 1.0 → 1.0.3 (shop/staging).",
    ]


@pytest.mark.database
def test_there_are_never_more_at_once_than_it_may_have(watched: Watched) -> None:
    watched.index.add("helper", "1.0.3")
    staging = watched.add_environment("staging", order=2)
    watched.serve("helper==1.0\n", staging)
    watched.serve("shopkit==1.0\n")
    watched.change(how_far=HOW_FAR.PATCH, groups=[["shopkit"]])
    outcome = watched.run()
    upgrade = Upgrade.objects.get()
    live = f"These have not ended yet, of at most 1 at once: #{upgrade.pk}."
    assert f"Postponed to the next run: helper 1.0 → 1.0.3. {live}" in outcome
    assert watched.run().startswith(f"Postponed to the next run.\n{live}")
    watched.end(UpgradeState.SUCCEEDED)
    watched.serve("shopkit==1.0.1\n")
    assert "helper 1.0 → 1.0.3 (shop/staging)" in watched.run()


@pytest.mark.database
def test_a_busy_environment_refuses_and_that_is_given(watched: Watched) -> None:
    watched.change(how_far=HOW_FAR.PATCH)
    watched.run()
    other = UpgradePolicy.objects.create(name="other", cron="0 3 * * *")
    watched.policy.runs.update(policy=other)
    outcome = watched.run()
    assert outcome.startswith(f"Refused: {MOVE}. shop/production is part of upgrade #")
    assert Upgrade.objects.count() == 1


def test_an_environment_that_has_the_fix_stays_where_it_is(watched: Watched) -> None:
    staging = watched.add_environment("staging", order=0)
    watched.serve("shopkit==1.0.1\n", staging)
    watched.index.add("shopkit", "2.0")
    watched.is_vulnerable()
    assert f"{MOVE} (shop/production)." in watched.run()
    assert Upgrade.objects.get().stages.count() == 1


def test_an_environment_of_another_line_that_is_not_open_to_it_stays(watched: Watched) -> None:
    watched.index.add("shopkit", "0.9")
    legacy = watched.add_environment("legacy", order=7)
    watched.serve("shopkit==0.9\n", legacy)
    audit("shopkit==0.9")
    watched.is_vulnerable()
    assert watched.run().startswith("Upgrade #")
    assert Upgrade.objects.get().stages.get().environment == watched.environment


@pytest.mark.database
@pytest.mark.parametrize("state", [UpgradeState.FAILED, UpgradeState.ROLLED_BACK])
def test_what_failed_is_not_tried_again_until_something_changed(
    watched: Watched, state: UpgradeState
) -> None:
    watched.is_vulnerable()
    watched.run()
    watched.try_in_vain()
    failed = watched.end(state)
    assert watched.run() == (
        f"{MOVE}: not tried again, as upgrade #{failed.pk} failed with the same pins and nothing"
        " has changed since."
    )
    assert Upgrade.objects.count() == 1
    watched.index.add("helper", "2.0")
    watched.serve("shopkit==1.0\nhelper==2.0\n")
    audit("helper==2.0")
    assert MOVE in watched.run()
    assert Upgrade.objects.count() == 2


def test_what_was_never_tried_on_a_server_is_tried_again(watched: Watched) -> None:
    watched.is_vulnerable()
    watched.run()
    watched.end(UpgradeState.FAILED)
    assert watched.run().startswith("Upgrade #")
    assert Upgrade.objects.count() == 2


def test_what_another_one_would_move_stays_where_it_is_ignored(watched: Watched) -> None:
    watched.index.add("shopkit", "1.0.2", requires=("helper>=1.5",))
    watched.index.add("helper", "1.5")
    watched.is_vulnerable(fixed_in="1.0.2")
    watched.policy.ignored.create(package="helper", reason="It prints nonsense.")
    outcome = watched.run()
    assert outcome.startswith("Left out: ")
    assert outcome.endswith("as it would also move helper. It prints nonsense.")
    assert not Upgrade.objects.exists()


def test_a_conflict_is_reported_in_the_words_of_the_resolver(watched: Watched) -> None:
    watched.index.add("shopkit", "1.0.2", requires=("helper<1",))
    watched.is_vulnerable(fixed_in="1.0.2")
    outcome = watched.run()
    assert outcome.startswith("Not possible: shopkit.\nshop/production: ")
    assert "helper<1" in outcome


@pytest.mark.parametrize("order", [0, 7])
def test_an_environment_that_can_t_be_planned_holds_up_those_after_it_only(
    watched: Watched, order: int
) -> None:
    bad = watched.add_environment("bad", order=order)
    last = watched.add_environment("last", order=8)
    for each in (bad, last):
        watched.serve("shopkit==1.0\n", each)
    Override.objects.create(environment=bad, name="helper", version="not a version", before=[])
    watched.is_vulnerable()
    outcome = watched.run()
    assert "Override" in outcome
    assert "of shop/bad is not an exact pin: let it go." in outcome
    if not order:
        assert outcome.startswith("Not possible: shopkit.")
        assert not Upgrade.objects.exists()
        return
    upgrade = Upgrade.objects.get()
    assert outcome.startswith(f"Upgrade #{upgrade.pk}: {MOVE} (shop/production).\nNot in shop/bad")
    assert "Not in shop/bad, shop/last, where" in outcome
    assert [str(each.environment) for each in upgrade.stages.all()] == ["shop/production"]


def test_a_policy_without_environments_has_nothing_to_do(watched: Watched) -> None:
    watched.policy.turns.all().delete()
    assert watched.run() == "Nothing to do: no release serves on its environments."
