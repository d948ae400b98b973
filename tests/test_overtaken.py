"""What waited, or returns by itself, takes back nothing that people deployed meanwhile."""

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from deploy_manager.deployments.choices import choose_release, converge
from deploy_manager.deployments.run import run
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Placement,
    Release,
    Schedule,
    Server,
    State,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.recipes import Host, Site, registry
from deploy_manager.reconcile import reconcile
from deploy_manager.requirements.pins import Pin, lock_digest
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.plan import UpgradeOptions, plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.overrides import HeldSite

pytestmark = pytest.mark.django_db(transaction=True)
OLD = ("helper==1.0", "shopkit==1.0")


def serving(held: HeldSite) -> Release:
    release = held.environment.placements.get().active_release
    assert release is not None
    return release


def begin_what_waits() -> None:
    Deployment.objects.filter(state=State.WAITING).update(not_before=None)
    reconcile(lambda pk: None, look=lambda pk: None)


def in_an_hour() -> dict[str, Any]:
    return {"not_before": timezone.now() + timedelta(hours=1)}


def test_a_rollback_that_waited_takes_back_no_deployment_that_it_did_not_know(
    held: HeldSite,
) -> None:
    held.deploy()
    held.pin(*OLD)
    held.deploy()
    third = held.pin(*OLD)
    under_way = held.request()
    chosen = choose_release(held.environment)
    back = held.request("rollback", release=chosen, waits=True)
    assert back.state == State.WAITING
    held.see_through(under_way)
    begin_what_waits()
    held.see_through(back)
    assert (back.state, serving(held).commit) == (State.FAILED, third)
    for words in (
        f"another release was deployed on one: {serving(held)}",
        f"manage.py rollback shop/production --to {chosen.name}",
        "No server was touched.",
    ):
        assert words in back.message
    again = held.see_through(held.request("rollback", release=chosen))
    assert again.state == State.SUCCEEDED, again.message


def test_a_converge_that_waited_brings_no_release_that_the_others_left(held: HeldSite) -> None:
    first = held.deploy().release
    held.inventory.add_server("two")
    late = held.request("converge", **(vars(converge(held.environment, ["two"])) | in_an_hour()))
    assert late.release == first
    third = held.pin(*OLD)
    now = held.deploy(servers=["one"]).release
    begin_what_waits()
    held.see_through(late)
    assert late.state == State.FAILED
    for words in (f"serve another release: {now}", "manage.py converge shop/production two"):
        assert words in late.message
    anew = held.see_through(held.request("converge", **vars(converge(held.environment, ["two"]))))
    assert (anew.state, anew.release) == (State.SUCCEEDED, now), anew.message
    assert now is not None
    assert now.commit == third


def test_a_rollback_that_waited_for_nothing_new_goes_back(held: HeldSite) -> None:
    first = held.deploy().release
    held.pin(*OLD)
    held.deploy()
    back = held.request("rollback", release=choose_release(held.environment), **in_an_hour())
    held.deploy()  # the same commit once more
    begin_what_waits()
    assert held.see_through(back).state == State.SUCCEEDED, back.message
    assert serving(held) == first


def test_a_rollback_takes_back_no_upgrade_that_came_while_it_waited(held: HeldSite) -> None:
    first = held.deploy().release
    held.pin(*OLD)
    held.deploy()
    back = held.request("rollback", release=first, **in_an_hour())
    upgrade(held, held.environment)
    begin_what_waits()
    assert held.see_through(back).state == State.FAILED
    assert "shopkit==1.0.2" in held.served()


@pytest.mark.parametrize("is_newer", [True, False])
def test_a_commit_that_waited_goes_on_but_never_back(held: HeldSite, is_newer: bool) -> None:
    held.deploy()
    first = held.pin(*OLD)
    second = held.pin(*OLD)
    wanted, meanwhile = (second, first) if is_newer else (first, second)
    waiting = held.request(commit=wanted, **in_an_hour())
    assert held.deploy(commit=meanwhile).state == State.SUCCEEDED
    begin_what_waits()
    held.see_through(waiting)
    assert waiting.state == (State.SUCCEEDED if is_newer else State.FAILED), waiting.message
    assert serving(held).commit == second
    if not is_newer:
        assert f"manage.py deploy shop/production --ref {first}" in waiting.message


def test_the_first_deployment_ever_waits_like_any_other(held: HeldSite) -> None:
    first = held.repository.head
    waiting = held.request(commit=first, **in_an_hour())
    second = held.pin(*OLD)
    held.deploy()
    begin_what_waits()
    assert held.see_through(waiting).state == State.FAILED
    assert serving(held).commit == second


def test_another_branch_that_waited_takes_nothing_back_unseen(held: HeldSite) -> None:
    held.deploy()
    held.repository.git("checkout", "-q", "-b", "hotfix")
    held.pin(*OLD)
    held.repository.git("checkout", "-q", "main")
    waiting = held.request(ref="hotfix", **in_an_hour())
    newer = held.pin(*OLD)
    held.deploy()
    begin_what_waits()
    assert held.see_through(waiting).state == State.FAILED
    assert serving(held).commit == newer


def test_a_schedule_that_waited_takes_the_newest_code_whatever_serves(held: HeldSite) -> None:
    held.deploy()
    under_way = held.request()
    since = timezone.now() - timedelta(minutes=3)
    Schedule.objects.create(
        environment=held.environment, cron="* * * * *", time_zone="UTC", looked_at=since
    )
    (waiting,) = write_due_deployments()
    newest = held.pin(*OLD)
    held.see_through(under_way)
    begin_what_waits()
    assert held.see_through(waiting).state == State.SUCCEEDED, waiting.message
    assert serving(held).commit == newest


@pytest.mark.parametrize("is_named", [True, False], ids=["commit", "branch"])
def test_what_was_marked_as_bad_while_it_waited_is_not_deployed(
    held: HeldSite, is_named: bool
) -> None:
    first = held.deploy().release
    broken = held.pin(*OLD)
    waiting = held.request(commit=broken if is_named else "", **in_an_hour())
    held.deploy()
    serving(held).mark_bad("500 for everybody")
    roll_back(held)
    begin_what_waits()
    assert held.see_through(waiting).state == State.FAILED
    assert serving(held) == first
    for words in (
        f"commit {broken[:8]} has been marked as bad on shop/production since ",
        "500 for everybody",
        f"request it again: manage.py deploy shop/production --ref {broken}.",
        "No server was touched.",
    ):
        assert words in waiting.message
    again = held.deploy(commit=broken)
    assert (again.state, serving(held).commit) == (State.SUCCEEDED, broken), again.message


@pytest.mark.parametrize("came_back", [False, True])
def test_what_was_rolled_back_while_it_waited_is_not_deployed_unless_it_succeeded_again(
    held: HeldSite, came_back: bool
) -> None:
    first = held.deploy().release
    broken = held.pin(*OLD)
    held.deploy()
    waiting = held.request(**in_an_hour())
    roll_back(held, reason="The till is broken.")
    assert serving(held) == first
    if came_back:
        assert held.deploy().state == State.SUCCEEDED
    begin_what_waits()
    held.see_through(waiting)
    if came_back:
        assert (waiting.state, serving(held).commit) == (State.SUCCEEDED, broken), waiting.message
    else:
        assert (waiting.state, serving(held)) == (State.FAILED, first)
        assert "one returned from it with #" in waiting.message
        assert "rollback shop/production by me@here: The till is broken." in waiting.message


def test_what_returned_by_itself_while_it_waited_is_not_deployed(held: HeldSite) -> None:
    first = held.deploy().release
    held.pin(*OLD)
    waiting = held.request(**in_an_hour())
    Environment.objects.update(rollback_on_failure=True)
    held.environment.refresh_from_db()
    known = registry._recipes["verify"]

    def verify(host: Host, site: Site) -> None:
        host.run(["test", site.release, "=", str(first)])

    registry._recipes["verify"] = replace(known, function=verify)
    failed = held.deploy()
    registry._recipes["verify"] = known
    assert failed.state == State.ROLLED_BACK
    assert failed.release is not None
    failed.release.refresh_from_db()
    assert failed.release.bad_since is not None
    begin_what_waits()
    assert held.see_through(waiting).state == State.FAILED
    assert serving(held) == first


def test_a_newer_commit_goes_on_whatever_became_of_the_one_before(held: HeldSite) -> None:
    held.deploy()
    held.pin(*OLD)
    held.deploy()
    waiting = held.request(**in_an_hour())
    serving(held).mark_bad("500 for everybody")
    roll_back(held)
    mended = held.pin(*OLD)
    begin_what_waits()
    assert held.see_through(waiting).state == State.SUCCEEDED, waiting.message
    assert serving(held).commit == mended


def test_what_was_marked_before_it_was_requested_was_chosen(held: HeldSite) -> None:
    first = held.deploy().release
    held.pin(*OLD)
    held.deploy()
    assert first is not None
    first.mark_bad("Slow.")
    waiting = held.request("rollback", release=first, **in_an_hour())
    begin_what_waits()
    assert held.see_through(waiting).state == State.SUCCEEDED, waiting.message
    assert serving(held) == first


def test_a_rollback_that_waited_goes_to_no_release_that_was_marked_since(held: HeldSite) -> None:
    first = held.deploy().release
    held.pin(*OLD)
    second = held.deploy().release
    waiting = held.request("rollback", release=choose_release(held.environment), **in_an_hour())
    assert first is not None
    first.mark_bad("It loses orders.")
    begin_what_waits()
    assert held.see_through(waiting).state == State.FAILED
    assert serving(held) == second
    for words in ("It loses orders.", f"manage.py rollback shop/production --to {first}"):
        assert words in waiting.message


@pytest.mark.parametrize("is_marked", [True, False])
def test_the_newest_release_that_turned_out_bad_is_not_activated_by_what_waited(
    held: HeldSite, is_marked: bool
) -> None:
    first = held.deploy().release
    held.pin(*OLD)
    held.deploy()
    waiting = held.request("activate", **in_an_hour())
    if is_marked:
        serving(held).mark_bad("500 for everybody")
    roll_back(held)
    begin_what_waits()
    assert held.see_through(waiting).state == State.FAILED
    assert serving(held) == first


def test_a_server_that_leaves_while_a_deployment_waits_keeps_it_from_no_other(
    held: HeldSite,
) -> None:
    held.inventory.add_server("two")
    held.deploy()
    newer = held.pin(*OLD)
    waiting = held.request(**in_an_hour())
    take_out("two")
    begin_what_waits()
    assert held.see_through(waiting).state == State.SUCCEEDED, waiting.message
    assert serving(held).commit == newer


def test_a_server_that_leaves_while_an_upgrade_waits_keeps_it_from_no_other(
    held: HeldSite,
) -> None:
    held.inventory.add_server("two")
    held.deploy()
    held.environment.freeze("Sales", "ana")
    plan = plan_upgrade([held.environment], options())
    made = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    (waiting,) = advance_upgrade(made.pk)
    take_out("two")
    held.environment.thaw("ana")
    begin_what_waits()
    held.see_through(waiting)
    go_on(made)
    assert made.state == UpgradeState.SUCCEEDED, made.message
    assert "shopkit==1.0.2" in held.served()


def test_a_server_that_leaves_while_a_return_waits_keeps_it_from_no_other(
    held: HeldSite, second: Environment
) -> None:
    held.inventory.add_server("two")
    held.deploy()
    made = upgrade(held, held.environment, second)
    held.environment.freeze("Sales", "ana")
    fail(made, second)
    back = stage_of(made, held.environment).returned_by
    assert back is not None
    assert back.state == State.WAITING
    take_out("two")
    held.environment.thaw("ana")
    begin_what_waits()
    held.see_through(back)
    go_on(made)
    assert stage_of(made, held.environment).state == UpgradeState.ROLLED_BACK
    assert "shopkit==1.0.2" not in held.served()


def take_out(name: str) -> None:
    Placement.objects.filter(server__name=name).delete()


def test_an_upgrade_that_waited_comes_to_code_that_was_marked_since(held: HeldSite) -> None:
    """Its pins may be what mends it."""
    held.deploy()
    held.environment.freeze("Sales", "ana")
    plan = plan_upgrade([held.environment], options())
    made = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    (waiting,) = advance_upgrade(made.pk)
    serving(held).mark_bad("Slow.")
    held.environment.thaw("ana")
    begin_what_waits()
    held.see_through(waiting)
    assert waiting.state == State.SUCCEEDED, waiting.message


def roll_back(held: HeldSite, reason: str = "") -> None:
    chosen = choose_release(held.environment)
    back = held.see_through(held.request("rollback", release=chosen, reason=reason))
    assert back.state == State.SUCCEEDED, back.message


def options(version: str = "1.0.2") -> UpgradeOptions:
    return UpgradeOptions((PinRequest("shopkit", Reach.EXACT, version),), soak=3600)


def upgrade(held: HeldSite, *environments: Environment) -> Upgrade:
    """Request one to 1.0.2, and see its first environment through."""
    plan = plan_upgrade(environments, options())
    made = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    go_on(made)
    return made


def go_on(made: Upgrade) -> Upgrade:
    for _round in range(4):
        for deployment in advance_upgrade(made.pk):
            # The soak is for the next environment: no wave waits for it here.
            Deployment.objects.filter(pk=deployment.pk).update(pause=0)
            run(deployment.pk)
    made.refresh_from_db()
    return made


def stage_of(made: Upgrade, environment: Environment) -> UpgradeStage:
    return made.stages.get(environment=environment)


@pytest.fixture
def second(held: HeldSite) -> Environment:
    """Another environment of the project, which has its turn later; both serve shopkit 1.0."""
    environment = held.environment
    other = Environment.objects.create(
        project=environment.project,
        name="second",
        deploy_path=environment.deploy_path,
        reload_method=environment.reload_method,
        health_path=environment.health_path,
        index_url=environment.index_url,
    )
    folder = held.inventory.folder / "later"
    folder.mkdir()
    server = Server.objects.create(name="later", connection="local")
    other.placements.create(server=server, roles=["app"], own_deploy_path=str(folder))
    held.deploy()
    held.environment = other
    held.deploy()
    held.environment = environment
    return other


def fail(made: Upgrade, environment: Environment) -> Upgrade:
    """Let an environment whose turn it is fail: other pins than planned serve there."""
    text = secrets.token_hex(8)
    lock = LockFile.objects.of(lock_digest(text), text)
    made.stages.filter(environment=environment).update(opens_at=None, lock_before=lock)
    return go_on(made)


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


@pytest.mark.parametrize("is_changed", [True, False])
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
    plan = plan_upgrade([held.environment], options())
    made = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    (deployment,) = advance_upgrade(made.pk)
    replace_pins(held.environment, [Pin("helper", "1.0"), Pin("shopkit", "1.1")])
    run(deployment.pk)
    go_on(made)
    assert made.state == UpgradeState.SUCCEEDED
    assert "stays as it is" in made.message
    listed = Environment.objects.get(pk=held.environment.pk)
    assert {pin.name: pin.version for pin in pins_of(listed)}["shopkit"] == "1.1"


def test_an_upgrade_that_waited_brings_its_pins_to_the_code_that_serves_by_then(
    held: HeldSite,
) -> None:
    held.deploy()
    newer = held.pin(*OLD)
    under_way = held.request()
    plan = plan_upgrade([held.environment], options())
    made = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    (waiting,) = advance_upgrade(made.pk)
    assert waiting.state == State.WAITING
    held.see_through(under_way)
    begin_what_waits()
    held.see_through(waiting)
    go_on(made)
    assert made.state == UpgradeState.SUCCEEDED, made.message
    assert serving(held).commit == newer
    assert "shopkit==1.0.2" in held.served()
