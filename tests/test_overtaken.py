"""What waited takes back nothing that people deployed meanwhile, and brings nothing bad."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from deploy_manager.deployments.choices import choose_release, converge
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.models import (
    Environment,
    Placement,
    Schedule,
    State,
    UpgradeState,
)
from deploy_manager.recipes import Host, Site, registry
from deploy_manager.upgrades.progress import advance_upgrade
from tests.overrides import HeldSite
from tests.owners import owned
from tests.parts.matrices import few
from tests.returns import (
    OLD,
    begin_what_waits,
    fail,
    go_on,
    in_an_hour,
    requested,
    serving,
    stage_of,
    upgrade,
)

pytestmark = pytest.mark.django_db(transaction=True)


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


@pytest.mark.parametrize("is_newer", few(True, False))
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
    owned(
        Schedule.objects.create(
            environment=held.environment, cron="* * * * *", time_zone="UTC", looked_at=since
        )
    )
    (waiting,) = write_due_deployments()
    newest = held.pin(*OLD)
    held.see_through(under_way)
    begin_what_waits()
    assert held.see_through(waiting).state == State.SUCCEEDED, waiting.message
    assert serving(held).commit == newest


def test_an_upgrade_that_waited_brings_its_pins_to_the_code_that_serves_by_then(
    held: HeldSite,
) -> None:
    held.deploy()
    newer = held.pin(*OLD)
    under_way = held.request()
    made = requested(held.environment)
    (waiting,) = advance_upgrade(made.pk)
    assert waiting.state == State.WAITING
    held.see_through(under_way)
    begin_what_waits()
    held.see_through(waiting)
    go_on(made)
    assert made.state == UpgradeState.SUCCEEDED, made.message
    assert serving(held).commit == newer
    assert "shopkit==1.0.2" in held.served()


@pytest.mark.parametrize("is_named", few(True, False), ids=["commit", "branch"])
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


@pytest.mark.parametrize("came_back", few(False, True))
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


def test_what_returned_automatically_while_it_waited_is_not_deployed(held: HeldSite) -> None:
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


@pytest.mark.parametrize("is_marked", few(True, False))
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
    made = requested(held.environment)
    (waiting,) = advance_upgrade(made.pk)
    take_out("two")
    held.environment.thaw("ana")
    begin_what_waits()
    held.see_through(waiting)
    go_on(made)
    assert made.state == UpgradeState.SUCCEEDED, made.message
    assert "shopkit==1.0.2" in held.served()


@pytest.mark.long
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
    made = requested(held.environment)
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
