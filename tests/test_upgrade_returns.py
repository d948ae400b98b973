"""An upgrade that goes back automatically: to what, where, and what becomes of the pins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from deploy_manager.deployments import request as requests
from deploy_manager.deployments.choices import converge, retry
from deploy_manager.deployments.confirming import confirming_own_edits
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.probing import probe, resolve
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import ConnectionLost
from deploy_manager.messages import Message
from deploy_manager.models import (
    UPGRADE_LIVE,
    Deployment,
    Environment,
    HostRun,
    Release,
    State,
    Upgrade,
    UpgradeState,
)
from deploy_manager.packages.overrides import let_go
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.recipes import Host, Site, registry
from deploy_manager.reconcile import promote_next
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades import progress
from deploy_manager.upgrades.overriding import note_overrides, return_overrides
from deploy_manager.upgrades.plan import UpgradeOptions
from deploy_manager.upgrades.progress import advance_all, advance_upgrade
from deploy_manager.upgrades.proofs import may_serve_unseen
from deploy_manager.upgrades.requests import cancel_upgrade
from tests.overrides import HeldSite
from tests.parts.matrices import few
from tests.returns import (
    OLD,
    begin_what_waits,
    fail,
    finish,
    go_on,
    list_by_hand,
    listed,
    requested,
    serving,
    stage_of,
    upgrade,
)

pytestmark = pytest.mark.django_db(transaction=True)


def replace_recipe(name: str, function: Callable[[Host, Site], None]) -> None:
    registry._recipes[name] = replace(registry._recipes[name], function=function)


def went_back(made: Upgrade, held: HeldSite) -> None:
    stage = stage_of(made, held.environment)
    assert stage.state == UpgradeState.ROLLED_BACK, stage.message
    assert "shopkit==1.0.2" not in held.served()


@pytest.fixture
def flaw(held: HeldSite) -> Path:
    """A file; while it is there, the connection to a server is cut in its clean-up."""
    path = held.inventory.folder / "cut"

    def clean_up(host: Host, site: Site) -> None:
        if path.exists():
            raise ConnectionLost("cut")

    replace_recipe("clean_up", clean_up)
    return path


def find_out(deployment: Deployment | None) -> None:
    """Let a worker find out that the lost step of its server had succeeded."""
    run_ = HostRun.objects.get(deployment=deployment)
    HostRun.objects.filter(pk=run_.pk).update(probed_at=timezone.now())
    resolve(run_, run_.steps.get(state=State.LOST), State.SUCCEEDED, Message())


def test_a_return_leaves_the_code_that_was_deployed_since(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    newer = held.pin(*OLD)
    assert held.deploy().state == State.SUCCEEDED
    served = serving(held)
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert stage.state == UpgradeState.ROLLED_BACK, stage.message
    assert stage.returned_by is not None
    assert (serving(held).commit, stage.returned_by.recipe) == (newer, "upgrade")
    assert "shopkit==1.0.2" not in held.served()
    assert "shopkit==1.0" in held.served()
    assert held.live() == {}
    assert not Release.objects.exclude(bad_since=None).exists()
    assert served.bad_since is None
    assert held.deploy().state == State.SUCCEEDED
    assert "shopkit==1.0.2" not in held.served()


def test_a_return_goes_to_the_release_before_if_nothing_else_was_deployed(
    held: HeldSite, second: Environment
) -> None:
    before = serving(held)
    made = upgrade(held, held.environment, second)
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, serving(held)) == (UpgradeState.ROLLED_BACK, before)
    assert not Release.objects.exclude(bad_since=None).exists()


def test_a_return_leaves_what_the_repository_has_by_itself(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    newer = held.pin("helper==1.0", "shopkit==1.1")
    held.deploy()
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, stage.returned_by) == (UpgradeState.ROLLED_BACK, None)
    assert "no server was touched" in stage.message
    assert (serving(held).commit, "shopkit==1.1" in held.served()) == (newer, True)


def test_a_return_that_does_not_fit_the_newer_code_fails_and_touches_nothing(
    held: HeldSite, second: Environment
) -> None:
    held.index.add("shopkit", "1.0.2", requires=())
    made = upgrade(held, held.environment, second)
    held.pin("helper==2.0", "other==1.0", "shopkit==1.0")
    held.index.add("other", "1.0", requires=("shopkit>=1.0.2",))
    held.deploy()
    served = serving(held)
    assert "other==1.0" in held.served()
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert stage.state == UpgradeState.FAILED
    for words in ("do not fit the code that serves by now", "shopkit>=1.0.2", "No server was"):
        assert words in stage.message
    assert serving(held) == served
    assert held.live() == {"shopkit": "1.0.2"}


def test_a_return_to_servers_that_differ_is_left_to_people(
    held: HeldSite, second: Environment
) -> None:
    held.inventory.add_server("two")
    held.deploy()
    made = upgrade(held, held.environment, second)
    held.pin(*OLD)
    held.deploy(servers=["two"])
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, stage.returned_by) == (UpgradeState.FAILED, None)
    assert "its servers serve different ones" in stage.message
    assert held.live() == {"shopkit": "1.0.2"}


def test_a_return_waits_for_the_deployment_that_runs_there(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    newer = held.pin(*OLD)
    under_way = held.request()
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, stage.returned_by) == (UpgradeState.RETURNING, None)
    held.see_through(under_way)
    go_on(made)
    assert stage_of(made, held.environment).state == UpgradeState.ROLLED_BACK
    assert serving(held).commit == newer
    assert "shopkit==1.0.2" not in held.served()


@pytest.mark.parametrize("is_changed", few(True, False))
def test_a_list_that_people_changed_since_is_theirs(
    held: HeldSite, second: Environment, is_changed: bool
) -> None:
    before = [Pin("helper", "1.0"), Pin("shopkit", "1.0")]
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    for each in (held.environment, second):
        each.refresh_from_db()
        replace_pins(each, before)
    made = upgrade(held, held.environment, second)
    if is_changed:
        before = [Pin("helper", "1.0"), Pin("mine", "1.0"), Pin("shopkit", "1.1")]
        replace_pins(held.environment, before)
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert stage.state == UpgradeState.ROLLED_BACK
    listed = Environment.objects.get(pk=held.environment.pk)
    assert [(pin.name, pin.version) for pin in pins_of(listed)] == [
        (pin.name, pin.version) for pin in before
    ]
    assert ("stays as it is" in stage.message) == is_changed


def test_a_list_that_was_changed_while_the_upgrade_ran_stays_and_that_is_said(
    held: HeldSite,
) -> None:
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    held.environment.refresh_from_db()
    replace_pins(held.environment, [Pin("helper", "1.0"), Pin("shopkit", "1.0")])
    held.deploy()
    made = requested(held.environment)
    (deployment,) = advance_upgrade(made.pk)
    replace_pins(held.environment, [Pin("helper", "1.0"), Pin("shopkit", "1.1")])
    run(deployment.pk)
    go_on(made)
    assert made.state == UpgradeState.SUCCEEDED
    assert "stays as it is" in made.message
    listed = Environment.objects.get(pk=held.environment.pk)
    assert {pin.name: pin.version for pin in pins_of(listed)}["shopkit"] == "1.1"


def test_a_return_whose_clean_up_failed_has_returned(held: HeldSite, second: Environment) -> None:
    stuck = held.inventory.folder / "one/stuck"

    def clean_up(host: Host, site: Site) -> None:
        host.run(f"test ! -e {stuck}")

    replace_recipe("clean_up", clean_up)
    made = upgrade(held, held.environment, second)
    held.pin(*OLD)
    held.deploy()
    stuck.touch()
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, held.live()) == (UpgradeState.ROLLED_BACK, {})
    assert stage.returned_by is not None
    assert stage.returned_by.state == State.FAILED
    stuck.unlink()
    held.deploy()
    assert "shopkit==1.0.2" not in held.served()


def test_a_return_that_is_cancelled_in_its_clean_up_has_returned(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    held.pin(*OLD)
    held.deploy()

    def clean_up(host: Host, site: Site) -> None:
        cancel(Deployment.objects.latest("pk"), "ana")
        connection.close()  # this thread's own
        host.run("sleep 5")

    replace_recipe("clean_up", clean_up)
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert stage.returned_by is not None
    assert stage.returned_by.state == State.CANCELLED
    assert (stage.state, held.live()) == (UpgradeState.ROLLED_BACK, {})


def test_a_return_that_is_lost_in_its_clean_up_has_returned(
    held: HeldSite, second: Environment, flaw: Path
) -> None:
    made = upgrade(held, held.environment, second)
    held.pin(*OLD)
    held.deploy()
    flaw.touch()
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, held.live()) == (UpgradeState.ROLLED_BACK, {})
    assert "shopkit==1.0.2" not in held.served()


def test_a_return_that_is_retried_has_returned(held: HeldSite, second: Environment) -> None:
    made = upgrade(held, held.environment, second)
    held.pin(*OLD)
    held.deploy()
    full = held.inventory.folder / "one/full"
    full.touch()
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, held.live()) == (UpgradeState.FAILED, {"shopkit": "1.0.2"})
    assert stage.returned_by is not None
    full.unlink()
    recipe, again = retry(stage.returned_by)
    done = held.see_through(held.request(recipe, **vars(again)))
    assert done.state == State.SUCCEEDED, done.message
    go_on(made)
    assert stage_of(made, held.environment).state == UpgradeState.ROLLED_BACK
    assert held.live() == {}
    held.deploy()
    assert "shopkit==1.0.2" not in held.served()


def test_an_upgrade_that_is_lost_in_its_clean_up_survives_the_next_deployment(
    held: HeldSite, flaw: Path
) -> None:
    held.deploy()
    made = requested(held.environment)
    flaw.touch()
    go_on(made)
    assert (made.state, held.live()) == (UpgradeState.SUCCEEDED, {"shopkit": "1.0.2"})
    assert not Release.objects.exclude(bad_since=None).exists()
    flaw.unlink()
    held.deploy()
    assert "shopkit==1.0.2" in held.served()


def test_an_upgrade_that_is_found_to_serve_later_has_succeeded(held: HeldSite) -> None:
    held.deploy()

    def verify(host: Host, site: Site) -> None:
        raise ConnectionLost("cut")

    known = registry._recipes["verify"]
    replace_recipe("verify", verify)
    made = requested(held.environment)
    go_on(made)
    assert (made.state, held.live()) == (UpgradeState.FAILED, {})
    assert Release.objects.exclude(bad_since=None).exists()
    registry._recipes["verify"] = known
    find_out(stage_of(made, held.environment).deployment)
    advance_all(lambda written: None)
    made.refresh_from_db()
    assert (made.state, held.live()) == (UpgradeState.SUCCEEDED, {"shopkit": "1.0.2"})
    assert "found out later" in made.message
    assert not Release.objects.exclude(bad_since=None).exists()


def test_a_server_that_joined_stops_no_return(held: HeldSite, second: Environment) -> None:
    made = upgrade(held, held.environment, second)
    with confirming_own_edits(held.environment):
        held.inventory.add_server("two")
    fail(made, second)
    went_back(made, held)


def test_a_server_that_nobody_with_the_right_has_confirmed_stops_a_return(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    held.inventory.add_server("two")
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, stage.message.codes) == (UpgradeState.FAILED, ["plan_changed"])
    assert "server two was added" in stage.message


def test_a_server_without_the_release_before_is_given_it(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    before = stage_of(made, held.environment).release_before
    with confirming_own_edits(held.environment):
        held.inventory.add_server("two")
    joined = held.request("converge", **vars(converge(held.environment, ["two"])))
    assert held.see_through(joined).state == State.SUCCEEDED
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert stage.state == UpgradeState.ROLLED_BACK, stage.message
    served = held.environment.placements.values_list("active_release", flat=True)
    assert before is not None
    assert set(served) == {before.pk}


def test_a_server_that_moved_stops_no_return(
    held: HeldSite, second: Environment, tmp_path: Path
) -> None:
    held.inventory.add_server("two")
    held.deploy()
    made = upgrade(held, held.environment, second)
    (tmp_path / "elsewhere").mkdir()
    two = held.environment.placements.get(server__name="two")
    two.own_deploy_path = str(tmp_path / "elsewhere")
    with confirming_own_edits(two):
        two.save()
    fail(made, second)
    went_back(made, held)


def test_what_people_rolled_back_by_hand_is_not_rolled_back_again(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    before = stage_of(made, held.environment).release_before
    assert held.see_through(held.request("rollback", release=before)).state == State.SUCCEEDED
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, stage.returned_by) == (UpgradeState.ROLLED_BACK, None)
    assert "no server was touched" in stage.message


def test_a_return_that_waited_follows_what_was_deployed_before_its_turn(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    held.environment.freeze("Sales", "ana")
    newer = held.pin(*OLD)
    theirs = held.request(waits=True)
    fail(made, second)
    back = stage_of(made, held.environment).returned_by
    assert back is not None
    assert back.state == State.WAITING
    held.environment.thaw("ana")
    begin_what_waits()
    assert held.see_through(theirs).state == State.SUCCEEDED
    begin_what_waits()
    back.refresh_from_db()
    assert (back.state, "in another way" in back.message) == (State.CANCELLED, True)
    go_on(made)
    otherwise = stage_of(made, held.environment).returned_by
    assert otherwise is not None
    run(otherwise.pk)
    go_on(made)
    stage = stage_of(made, held.environment)
    assert (stage.state, held.live()) == (UpgradeState.ROLLED_BACK, {})
    assert serving(held).commit == newer
    assert "shopkit==1.0.2" not in held.served()


def test_what_goes_back_already_is_not_cancelled(held: HeldSite, second: Environment) -> None:
    made = upgrade(held, held.environment, second)
    held.environment.freeze("Sales", "ana")
    fail(made, second)
    assert not cancel_upgrade(made, "ana")
    made.refresh_from_db()
    assert (made.cancel_requested_by_name, made.goes_forward) == ("", False)


def test_a_list_that_a_later_upgrade_changed_loses_what_was_taken_back_only(
    held: HeldSite, second: Environment
) -> None:
    list_by_hand(held.environment, second)
    made = upgrade(held, held.environment, second)
    wanted = UpgradeOptions((PinRequest("helper", Reach.EXACT, "2.0"),))
    later = requested(held.environment, wanted=wanted)
    assert go_on(later).state == UpgradeState.SUCCEEDED, later.message
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert stage.state == UpgradeState.ROLLED_BACK, stage.message
    assert listed(held.environment) == {"helper": "2.0", "shopkit": "1.0"}
    held.deploy()
    assert "shopkit==1.0.2" not in held.served()


def test_pins_that_were_listed_before_the_upgrade_are_listed_after_its_return(
    held: HeldSite, second: Environment
) -> None:
    list_by_hand(held.environment, second)
    held.index.add("mine", "1.0")
    before = {"helper": "1.0", "mine": "1.0", "shopkit": "1.0"}
    replace_pins(held.environment, [Pin(*each) for each in before.items()])
    made = upgrade(held, held.environment, second)
    assert listed(held.environment) == before | {"shopkit": "1.0.2"}
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, listed(held.environment)) == (UpgradeState.ROLLED_BACK, before)


def test_an_upgrade_takes_no_code_back_that_only_some_servers_have(held: HeldSite) -> None:
    for name in ("two", "three"):
        held.inventory.add_server(name)
    held.deploy()
    made = requested(held.environment)
    newer = held.pin(*OLD)
    assert held.deploy(servers=["two"]).state == State.SUCCEEDED
    go_on(made)
    assert made.state == UpgradeState.FAILED
    assert "other code was deployed on two" in made.message
    two = held.environment.placements.get(server__name="two").active_release
    assert two is not None
    assert two.commit == newer


def test_an_upgrade_that_was_put_back_follows_the_code_that_was_deployed_meanwhile(
    held: HeldSite,
) -> None:
    held.deploy()
    made = requested(held.environment)
    (own,) = advance_upgrade(made.pk)
    held.environment.freeze("Sales", "ana")
    run(own.pk)
    own.refresh_from_db()
    assert own.state == State.WAITING
    held.environment.thaw("ana")
    newer = held.pin(*OLD)
    held.see_through(held.request())
    promote_next(held.environment, lambda pk: None)
    go_on(made)
    Deployment.objects.update(pause=0)
    run(own.pk)
    go_on(made)
    assert (made.state, serving(held).commit) == (UpgradeState.SUCCEEDED, newer), made.message


def test_one_that_waits_says_what_it_waits_for_by_now(held: HeldSite) -> None:
    held.deploy()
    held.environment.freeze("Sales", "ana")
    made = requested(held.environment)
    (own,) = advance_upgrade(made.pk)
    Deployment.objects.filter(pk=own.pk).update(message="It waits for bob now.")
    go_on(made)
    assert "waits for bob" in made.message
    assert "waits for bob" in stage_of(made, held.environment).message


def test_one_that_is_cancelled_says_so_in_the_environments_after_it(
    held: HeldSite, second: Environment
) -> None:
    made = requested(held.environment, second)
    (own,) = advance_upgrade(made.pk)
    cancel(own, "ana")
    go_on(made)
    assert "the upgrade was cancelled in an earlier environment" in stage_of(made, second).message


def test_a_return_sees_its_version_behind_a_marker_that_was_added_since(
    held: HeldSite, second: Environment
) -> None:
    made = upgrade(held, held.environment, second)
    held.pin("helper==1.0", 'shopkit==1.0 ; python_version >= "3.8"')
    held.deploy()
    assert "shopkit==1.0.2 ;" in held.served()
    fail(made, second)
    went_back(made, held)
    assert 'shopkit==1.0 ; python_version >= "3.8"' in held.served()
    assert held.live() == {}


def test_a_list_to_which_a_marker_was_added_since_loses_what_was_taken_back(
    held: HeldSite, second: Environment
) -> None:
    list_by_hand(held.environment, second)
    made = upgrade(held, held.environment, second)
    marker = 'python_version >= "3.8"'
    replace_pins(held.environment, [Pin("helper", "1.0"), Pin("shopkit", "1.0.2", marker=marker)])
    held.deploy()
    fail(made, second)
    went_back(made, held)
    assert listed(held.environment) == {"helper": "1.0", "shopkit": "1.0"}
    (pin,) = (each for each in pins_of(held.environment) if each.name == "shopkit")
    assert pin.marker == marker


@pytest.mark.parametrize("when", few("while it waits", "as it begins"))
def test_a_return_goes_back_though_an_advisory_came_meanwhile(
    held: HeldSite, second: Environment, when: str
) -> None:
    list_by_hand(held.environment, second)
    made = upgrade(held, held.environment, second)
    held.pin(*OLD)
    held.deploy()
    held.environment.freeze("Sales", "ana")
    fail(made, second)
    held.environment.thaw("ana")
    if when == "while it waits":
        held.is_vulnerable("1.0")
        begin_what_waits()
    else:
        begin_what_waits()
        held.is_vulnerable("1.0")
    finish(made)
    went_back(made, held)
    back = stage_of(made, held.environment).returned_by
    assert back is not None
    # A retry would be as free to go back.
    assert bool(back.take_back) == (when == "while it waits")


def test_a_return_does_not_go_to_what_was_marked_as_bad_since(
    held: HeldSite, second: Environment
) -> None:
    before = serving(held)
    made = upgrade(held, held.environment, second)
    before.mark_bad("1.0 is exploited: never again")
    fail(made, second)
    stage = stage_of(made, held.environment)
    assert (stage.state, stage.returned_by) == (UpgradeState.FAILED, None)
    assert "1.0 is exploited: never again" in stage.message
    assert ("shopkit==1.0.2" in held.served(), held.live()) == (True, {"shopkit": "1.0.2"})


def test_a_return_goes_to_what_was_marked_as_bad_before(
    held: HeldSite, second: Environment
) -> None:
    serving(held).mark_bad("1.0 breaks the till")
    made = upgrade(held, held.environment, second)
    fail(made, second)
    went_back(made, held)


@pytest.mark.parametrize("way", few("back", "there"))
def test_a_deployment_that_begins_in_the_same_moment_is_waited_for(
    held: HeldSite, second: Environment, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    made = upgrade(held, held.environment, second) if way == "back" else None
    made = made or requested(held.environment)
    theirs = held.request()
    with monkeypatch.context() as blind:
        # It began after it was looked for.
        blind.setattr(requests, "_why_to_wait", lambda *args: Message())
        if way == "back":
            looks = iter([False])
            known = progress._is_busy
            blind.setattr(progress, "_is_busy", lambda stage: next(looks, True) and known(stage))
            fail(made, second)
        else:
            advance_upgrade(made.pk)
    assert stage_of(made, held.environment).state in UPGRADE_LIVE
    held.see_through(theirs)
    finish(made)
    stage = stage_of(made, held.environment)
    ended = UpgradeState.ROLLED_BACK if way == "back" else UpgradeState.SUCCEEDED
    assert stage.state == ended, stage.message


def lose_and_cancel(deployment: Deployment) -> None:
    """Run it; it is cancelled and a server is lost in the moment in which that was switched."""
    known = registry._recipes["activate"]

    def activate(host: Host, site: Site) -> None:
        known.function(host, site)
        cancel(deployment, "ana")
        connection.close()  # this thread's own
        raise ConnectionLost("cut")

    replace_recipe("activate", activate)
    run(deployment.pk)
    registry._recipes["activate"] = known


def test_a_cancelled_upgrade_that_cannot_go_back_leaves_earlier_environments_alone(
    held: HeldSite, second: Environment
) -> None:
    held.inventory.add_server("two")
    held.deploy()
    made = upgrade(held, second, held.environment)
    made.stages.update(opens_at=None)
    (own,) = advance_upgrade(made.pk)
    Deployment.objects.filter(pk=own.pk).update(pause=0)
    before = stage_of(made, held.environment).release_before
    assert before is not None
    before.mark_bad("1.0 is exploited: never again")
    lose_and_cancel(own)
    finish(made)
    assert stage_of(made, held.environment).state == UpgradeState.FAILED
    assert stage_of(made, second).state == UpgradeState.SUCCEEDED
    assert "shopkit==1.0.2" in (held.inventory.folder / "later/current/lock").read_text()


@pytest.mark.parametrize("is_found_out", few(True, False))
def test_a_server_that_was_lost_as_it_switched_goes_back_if_the_upgrade_was_cancelled(
    held: HeldSite, is_found_out: bool
) -> None:
    held.inventory.add_server("two")
    held.deploy()
    made = requested(held.environment)
    (own,) = advance_upgrade(made.pk)
    Deployment.objects.filter(pk=own.pk).update(pause=0)
    lose_and_cancel(own)
    assert "shopkit==1.0.2" in held.served()
    if is_found_out:
        probe(own.host_runs.get(state=State.LOST).pk)
    # Its row says still what served before.
    assert [each.server_name for each in may_serve_unseen(own)] == ["one"]
    finish(made)
    assert made.state == UpgradeState.CANCELLED, made.message
    assert not may_serve_unseen(own).exists()
    assert stage_of(made, held.environment).returned_by is not None
    assert "shopkit==1.0.2" not in held.served()


@pytest.mark.parametrize("then", few("let go", "replaced"))
def test_an_override_that_was_let_go_is_not_revived(held: HeldSite, then: str) -> None:
    held.serve("shopkit==1.0")
    note_overrides(held.upgrade("shopkit==1.0.2", state=UpgradeState.SUCCEEDED))
    held.serve("shopkit==1.0.2", repository=("shopkit==1.0",))
    later = held.upgrade("shopkit==1.1", state=UpgradeState.SUCCEEDED)
    note_overrides(later)
    if then == "let go":
        let_go(held.environment, "shopkit", by="ana", reason="1.0.2 and 1.1 break the till")
    return_overrides(later)
    assert held.live() == ({} if then == "let go" else {"shopkit": "1.0.2"})
