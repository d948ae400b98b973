"""Upgrades from one lock to the next: canary, the rest, and back by themselves."""

import json
from dataclasses import replace

import pytest

from deploy_manager.deployments.run import run_shard
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import (
    AuditEvent,
    Deployment,
    Environment,
    IndexedPackage,
    OnFailure,
    Release,
    State,
    UpgradeState,
)
from deploy_manager.packages.looking_up import is_look_up_due, look_up_due
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.recipes import Host, Site, registry
from deploy_manager.reconcile import reconcile
from deploy_manager.requirements.reach import Reach
from deploy_manager.requirements.reading import read_pins
from deploy_manager.upgrades.plan import plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import cancel_upgrade, request_upgrade
from tests.inventory import Inventory
from tests.upgrades import SERVERS, Site4

pytestmark = pytest.mark.django_db(transaction=True)


def list_pins(four: Site4) -> None:
    """Let the environment's own list be the source of its pins."""
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    four.environment.refresh_from_db()
    replace_pins(four.environment, read_pins(Release.objects.latest().lock.text))


def listed(four: Site4) -> dict[str, str]:
    return {pin.name: pin.version for pin in pins_of(four.environment)}


def test_a_plan_shows_what_moves_and_why(four: Site4) -> None:
    four.index.add("helper", "2.0")
    four.index.add("shopkit", "1.1", requires=("helper>=2",))
    plan = plan_upgrade([four.environment], four.options("shopkit"))
    assert not plan.problems
    moves = {move["name"]: move for move in plan.stages[0].moves}
    assert (moves["shopkit"]["before"], moves["shopkit"]["after"]) == ("1.0", "1.1")
    assert (moves["helper"]["before"], moves["helper"]["after"]) == ("1.0", "2.0")
    assert moves["shopkit"]["why"] == "asked for"
    assert "shopkit" in moves["helper"]["why"]
    assert moves["shopkit"]["uploaded"].startswith("2020-01-01")


def test_every_server_gets_the_new_version_and_the_old_code(four: Site4) -> None:
    four.index.add("shopkit", "1.1", requires=("helper",))
    Release.objects.update(build=["make assets"])
    upgrade = four.upgrade(four.options("shopkit"))
    assert upgrade.state == UpgradeState.SUCCEEDED
    assert four.everywhere("shopkit==1.1")
    deployment = four.stage(upgrade).deployment
    assert deployment is not None
    assert deployment.release is not None
    assert deployment.release.commit == "c" * 40
    assert deployment.release.build == ["make assets"]


def test_a_canary_goes_first_though_the_environment_knows_no_waves(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    upgrade = four.upgrade(four.options("shopkit"))
    deployment = four.stage(upgrade).deployment
    assert deployment is not None
    assert [run.wave for run in deployment.host_runs.order_by("pk")] == [1, 2, 2, 2]


def test_a_broken_version_goes_back_by_itself(four: Site4) -> None:
    list_pins(four)
    four.index.add("shopkit", "1.1", requires=("broken",))
    four.index.add("broken", "1.0")
    upgrade = four.upgrade(four.options("shopkit"))
    assert upgrade.state == UpgradeState.ROLLED_BACK
    assert four.everywhere("shopkit==1.0")
    assert listed(four) == {"shopkit": "1.0", "helper": "1.0"}
    deployment = four.stage(upgrade).deployment
    assert deployment is not None
    assert [run.was_switched for run in deployment.host_runs.order_by("pk")] == [
        True,
        False,
        False,
        False,
    ]
    assert deployment.release is not None
    assert deployment.release.bad_since is not None


def test_servers_that_were_well_go_back_with_the_one_that_is_not(four: Site4) -> None:
    four.index.add("shopkit", "2.0")
    (four.folder("three") / "ill").touch()
    upgrade = four.upgrade(four.options("shopkit"))
    assert upgrade.state == UpgradeState.ROLLED_BACK
    assert four.everywhere("shopkit==1.0")


@pytest.mark.parametrize("untidy", [("three",), SERVERS], ids=["one", "all"])
def test_a_failed_clean_up_takes_back_neither_servers_nor_pins(
    four: Site4, untidy: tuple[str, ...]
) -> None:
    def tidy(host: Host, site: Site) -> None:
        host.run(f"test {'! ' if host.name in untidy else ''}-d {site.deploy_path}")

    registry._recipes["clean_up"] = replace(registry._recipes["clean_up"], function=tidy)
    list_pins(four)
    four.index.add("shopkit", "1.1", requires=("helper",))
    upgrade = four.upgrade(four.options("shopkit"))
    assert four.everywhere("shopkit==1.1")
    assert upgrade.state == UpgradeState.SUCCEEDED
    assert listed(four)["shopkit"] == "1.1"
    assert "It was verified, and serves the new release." in four.stage(upgrade).message
    assert not Release.objects.exclude(bad_since=None).exists()


def test_what_fails_before_the_switch_switches_nobody(four: Site4) -> None:
    four.index.add("shopkit", "2.0")
    (four.folder("four") / "full").touch()
    upgrade = four.upgrade(four.options("shopkit"))
    assert upgrade.state == UpgradeState.FAILED
    assert "No server was switched." in upgrade.message
    assert four.everywhere("shopkit==1.0")


def test_a_release_that_no_server_tried_is_not_marked_as_bad(four: Site4) -> None:
    four.index.add("shopkit", "2.0")
    # The servers take no orders: as after a backup of the database was restored.
    seen = {four.environment.key.hex: [99, 1]}
    for server in SERVERS:
        (four.folder(server) / ".deploy/fence.json").write_text(json.dumps(seen))
    upgrade = four.upgrade(four.options("shopkit"))
    assert upgrade.state == UpgradeState.FAILED
    assert "No server was switched." in upgrade.message
    assert not Release.objects.exclude(bad_since=None).exists()


def test_the_list_of_pins_follows_a_success(four: Site4) -> None:
    list_pins(four)
    four.index.add("shopkit", "1.1", requires=("helper",))
    four.upgrade(four.options("shopkit"))
    assert listed(four) == {"shopkit": "1.1", "helper": "1.0"}
    assert [pin.direct for pin in pins_of(four.environment)] == [False, True]


def test_pins_that_were_edited_are_rolled_out_like_an_upgrade(four: Site4) -> None:
    list_pins(four)
    row = four.environment.requirements.get(name="helper")
    plan = plan_upgrade([four.environment], four.options("shopkit"))
    assert plan.is_empty
    four.index.add("helper", "1.1")
    row.version, row.hashes = "1.1", []
    row.save()
    four.environment.requirements.update(hashes=[])
    plan = plan_upgrade([four.environment], four.options("shopkit"))
    assert {move["name"]: move["after"] for move in plan.stages[0].moves} == {"helper": "1.1"}


class TestTwoEnvironments:
    @pytest.fixture
    def staging(self, four: Site4) -> Environment:
        environment = four.environment
        staging = Environment.objects.create(
            project=environment.project,
            name="staging",
            deploy_path=str(four.inventory.folder),
            reload_method=Environment.ReloadMethod.NONE,
            health_path="",
            index_url=four.index.url,
        )
        Inventory(staging, four.inventory.folder).add_server("zero")
        four.serve("shopkit\n", staging)
        return staging

    def test_one_goes_after_the_other(self, four: Site4, staging: Environment) -> None:
        four.index.add("shopkit", "1.1")
        upgrade = four.upgrade(four.options("shopkit"), staging)
        assert upgrade.state == UpgradeState.SUCCEEDED
        first, second = upgrade.stages.all()
        assert first.environment == staging
        assert first.deployment is not None
        assert second.deployment is not None
        assert first.deployment.finished_at <= second.deployment.created_at  # type: ignore[operator]
        assert four.everywhere("shopkit==1.1", (*SERVERS, "zero"))

    def test_a_soak_keeps_the_second_waiting(self, four: Site4, staging: Environment) -> None:
        four.index.add("shopkit", "1.1")
        options = four.options("shopkit")
        plan = plan_upgrade([staging, four.environment], options)
        upgrade = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
        upgrade.soak = 3600
        upgrade.save()
        four.see_through(upgrade)
        first, second = upgrade.stages.all()
        assert (first.state, second.state) == (UpgradeState.SUCCEEDED, UpgradeState.WAITING)
        assert second.opens_at is not None
        assert four.everywhere("shopkit==1.0")
        assert four.everywhere("shopkit==1.1", ("zero",))

    def test_where_the_second_fails_the_first_returns(
        self, four: Site4, staging: Environment
    ) -> None:
        four.index.add("shopkit", "2.0")
        (four.folder("two") / "ill").touch()
        upgrade = four.upgrade(four.options("shopkit"), staging)
        assert upgrade.state == UpgradeState.ROLLED_BACK
        assert four.everywhere("shopkit==1.0", (*SERVERS, "zero"))

    @pytest.mark.long
    def test_unless_it_is_to_stay(self, four: Site4, staging: Environment) -> None:
        four.index.add("shopkit", "2.0")
        (four.folder("two") / "ill").touch()
        options = four.options("shopkit")
        plan = plan_upgrade([staging, four.environment], options)
        upgrade = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
        upgrade.on_failure = OnFailure.STOP
        upgrade.save()
        four.see_through(upgrade)
        assert four.everywhere("shopkit==1.0")
        assert four.everywhere("shopkit==2.0", ("zero",))

    @pytest.mark.long
    def test_where_the_first_fails_the_second_is_never_touched(
        self, four: Site4, staging: Environment
    ) -> None:
        four.index.add("shopkit", "2.0")
        (four.folder("zero") / "ill").touch()
        upgrade = four.upgrade(four.options("shopkit"), staging)
        assert [stage.state for stage in upgrade.stages.all()] == [
            UpgradeState.ROLLED_BACK,
            UpgradeState.SKIPPED,
        ]
        assert four.stage(upgrade).deployment is None


def test_an_environment_is_in_one_upgrade_at_a_time(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    plan = plan_upgrade([four.environment], four.options("shopkit"))
    first = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    event = AuditEvent.objects.get(action="requested", kind="upgradestage")
    assert (event.who, event.environment_key) == ("me@here", four.environment.pk)
    assert "shopkit" in str(event.after["moves"])
    with pytest.raises(RequestRefused, match=f"part of upgrade #{first.pk}"):
        request_upgrade(plan, source="manage.py", requested_by_name="me@here")


def test_what_changed_meanwhile_is_not_upgraded(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    plan = plan_upgrade([four.environment], four.options("shopkit"))
    four.serve("helper\n")
    upgrade = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    four.see_through(upgrade)
    assert upgrade.state == UpgradeState.FAILED
    assert "request it again" in upgrade.message


def test_what_moves_is_soon_looked_up_again(four: Site4) -> None:
    """A version may be installed that was not out yet when the index was asked."""
    look_up_due()
    four.index.add("shopkit", "1.1", requires=("helper",))
    assert not is_look_up_due()
    four.upgrade(four.options("shopkit"))
    look_up_due()
    assert IndexedPackage.objects.get(name="shopkit").latest == "1.1"


def test_nothing_to_do_is_refused(four: Site4) -> None:
    plan = plan_upgrade([four.environment], four.options("shopkit"))
    assert plan.unmoved == (four.environment,)
    with pytest.raises(RequestRefused, match="nothing to upgrade"):
        request_upgrade(plan, source="manage.py", requested_by_name="me@here")


def test_a_package_that_nobody_has_is_reported(four: Site4) -> None:
    plan = plan_upgrade([four.environment], four.options("chopkit"))
    assert plan.problems == ("chopkit is not among the pins of shop/production.",)


def test_no_solution_is_reported_and_changes_nothing(four: Site4) -> None:
    four.index.add("shopkit", "1.1", requires=("helper>=7",))
    plan = plan_upgrade([four.environment], four.options("shopkit", Reach.EXACT, "1.1"))
    assert "helper" in plan.problems[0]
    assert plan.is_empty


def test_cancelled_before_it_begins_nothing_moves(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    upgrade = four.request(four.options("shopkit"))
    assert cancel_upgrade(upgrade, "you@here")
    four.see_through(upgrade)
    assert upgrade.state == UpgradeState.CANCELLED
    assert four.everywhere("shopkit==1.0")


def test_cancelled_between_two_waves_the_canary_returns(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    Environment.objects.update(pause=3600)
    upgrade = four.request(four.options("shopkit"))
    (deployment,) = advance_upgrade(upgrade.pk)
    run_shard(deployment.shards.get().pk, lambda pk: None)
    assert "shopkit==1.1" in four.served("one")
    cancel_upgrade(upgrade, "you@here")
    four.see_through(upgrade)
    assert upgrade.state == UpgradeState.CANCELLED
    assert four.everywhere("shopkit==1.0")


def test_a_frozen_environment_waits(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    four.environment.freeze("Exams", "me")
    upgrade = four.request(four.options("shopkit"))
    four.see_through(upgrade)
    stage = four.stage(upgrade)
    assert (upgrade.state, stage.state) == (UpgradeState.WAITING, UpgradeState.WAITING)
    assert stage.message == "shop/production is frozen by me until it is thawed: Exams"
    assert upgrade.message == f"shop/production: {stage.message}"
    assert Deployment.objects.get(state=State.WAITING).message == stage.message
    four.environment.thaw("me")
    reconcile(lambda shard_id: None)
    upgrade.refresh_from_db()
    stage = four.stage(upgrade)
    assert (upgrade.state, stage.state) == (UpgradeState.RUNNING, UpgradeState.RUNNING)
    assert (upgrade.message, stage.message) == ("", "")
    assert four.see_through(upgrade).state == UpgradeState.SUCCEEDED


def test_cancelled_while_it_waits_for_a_thaw_nothing_is_left_of_it(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    four.environment.freeze("Exams", "me")
    upgrade = four.request(four.options("shopkit"))
    four.see_through(upgrade)
    assert cancel_upgrade(upgrade, "you@here")
    four.see_through(upgrade)
    assert (upgrade.state, four.stage(upgrade).state) == ("cancelled", "cancelled")
    assert four.stage(upgrade).message == "Cancelled by you@here."
    four.environment.thaw("me")
    four.see_through(upgrade)
    assert four.everywhere("shopkit==1.0")


def test_a_deployment_that_begins_unnoticed_is_seen_by_the_next_round(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    four.environment.freeze("Exams", "me")
    upgrade = four.request(four.options("shopkit"))
    (deployment,) = advance_upgrade(upgrade.pk)
    assert advance_upgrade(upgrade.pk) == []
    assert Deployment.objects.promote(deployment.pk)
    advance_upgrade(upgrade.pk)
    assert four.stage(upgrade).state == UpgradeState.RUNNING


def test_two_that_go_on_with_it_write_one_deployment(four: Site4) -> None:
    four.index.add("shopkit", "1.1")
    upgrade = four.request(four.options("shopkit"))
    assert len(advance_upgrade(upgrade.pk)) == 1
    assert advance_upgrade(upgrade.pk) == []
