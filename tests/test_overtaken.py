"""What waited, or returns by itself, takes back nothing that people deployed meanwhile."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deploy_manager.deployments.choices import choose_release, converge
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.models import (
    Schedule,
    State,
    UpgradeState,
)
from deploy_manager.upgrades.progress import advance_upgrade
from tests.overrides import HeldSite
from tests.returns import (
    OLD,
    begin_what_waits,
    go_on,
    in_an_hour,
    requested,
    serving,
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
