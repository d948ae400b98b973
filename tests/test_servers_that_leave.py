"""A server that leaves, or whose row breaks, in the middle of a deployment ends alone."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from deploy_manager.deployments.rollout import open_after_pause
from deploy_manager.deployments.run import run, run_shard
from deploy_manager.models import Deployment, Environment, HostRun, Placement, State, Step
from tests.releases import THREE, Switching

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def three(three_old: Switching) -> Switching:
    """Three servers that serve the release `old`, switched one by one with a pause between them."""
    set_up(three_old, strategy="waves", canary="1", batch="1", pause=3600)
    return three_old


def set_up(switching: Switching, **fields: object) -> None:
    Environment.objects.update(**fields)
    switching.inventory.environment.refresh_from_db()


def begin(three: Switching) -> Deployment:
    """Switch the first server, up to the pause behind it."""
    deployment = three.request("new")
    wake: list[int] = [deployment.shards.earliest("number").pk]
    while wake:
        run_shard(wake.pop(0), wake.append)
    assert currents(three) == ["new", "old", "old"]
    return deployment


def go_on(deployment: Deployment) -> Deployment:
    """See it through, without its pauses."""
    while Deployment.objects.live().filter(pk=deployment.pk).exists():
        soon = timezone.now() - timedelta(seconds=1)
        Deployment.objects.filter(pk=deployment.pk).update(opens_at=soon)
        wake = list(open_after_pause(deployment.pk))
        while wake:
            run_shard(wake.pop(0), wake.append)
    deployment.refresh_from_db()
    return deployment


def currents(three: Switching) -> list[str]:
    return [three.current(name) for name in THREE]


def told(deployment: Deployment) -> dict[str, tuple[str, str]]:
    return {each.server_name: (each.state, each.message) for each in deployment.host_runs.all()}


def take_out(name: str) -> None:
    Placement.objects.filter(server__name=name).delete()


def spoil(name: str) -> None:
    Placement.objects.filter(server__name=name).update(own_bind="no address")


LEAVE: dict[str, tuple[Callable[[str], None], str]] = {
    "taken out": (take_out, "was taken out of the environment."),
    "row spoiled": (spoil, "host:port"),
}
leaving = pytest.mark.parametrize(("leave", "why"), LEAVE.values(), ids=LEAVE)


@leaving
def test_one_that_leaves_before_its_wave_ends_alone_if_it_is_tolerated(
    three: Switching, leave: Callable[[str], None], why: str
) -> None:
    set_up(three, max_failures="1")
    deployment = begin(three)
    leave("three")
    assert go_on(deployment).state == State.PARTLY_FAILED
    assert currents(three) == ["new", "new", "old"]
    state, message = told(deployment)["three"]
    assert state == State.FAILED
    assert why in message
    assert told(deployment)["one"][0] == told(deployment)["two"][0] == State.SUCCEEDED
    assert not Step.objects.filter(host_run__deployment=deployment, state__in=["queued", "running"])


@leaving
def test_one_more_than_is_tolerated_stops_the_others_as_any_failure_does(
    three: Switching, leave: Callable[[str], None], why: str
) -> None:
    deployment = begin(three)
    leave("two")
    go_on(deployment)
    assert currents(three) == ["new", "old", "old"]
    assert told(deployment)["two"][0] == State.FAILED
    state, message = told(deployment)["three"]
    assert (state, "two could not be worked on" in message) == (State.SKIPPED, True), message
    # It was switched and proven: the rest of its steps is done, too.
    assert told(deployment)["one"] == (State.SUCCEEDED, "")
    assert deployment.state == State.PARTLY_FAILED


@leaving
def test_it_brings_the_others_back_if_the_environment_wants_that(
    three: Switching, leave: Callable[[str], None], why: str
) -> None:
    set_up(three, rollback_on_failure=True)
    deployment = begin(three)
    leave("three")
    go_on(deployment)
    assert currents(three) == ["old", "old", "old"]
    assert told(deployment)["one"][0] == State.ROLLED_BACK
    assert told(deployment)["three"][0] == State.FAILED


@leaving
def test_one_that_serves_the_release_already_says_so(
    three: Switching, leave: Callable[[str], None], why: str
) -> None:
    set_up(three, max_failures="1")
    deployment = begin(three)
    leave("one")
    assert go_on(deployment).state == State.PARTLY_FAILED
    assert currents(three) == ["new", "new", "new"]
    state, message = told(deployment)["one"]
    assert state == State.FAILED
    assert why in message
    assert "It serves the new release" in message


@leaving
def test_one_that_has_ended_before_it_leaves_is_not_missed(
    three: Switching, leave: Callable[[str], None], why: str
) -> None:
    set_up(three, max_failures="1")
    three.break_server("one")
    deployment = begin(three)
    ended = told(deployment)["one"]
    assert ended[0] == State.FAILED
    leave("one")
    go_on(deployment)
    assert currents(three) == ["new", "new", "new"]
    assert told(deployment)["one"] == ended
    assert [told(deployment)[name][0] for name in THREE[1:]] == [State.SUCCEEDED] * 2


def test_one_that_is_taken_out_before_the_deployment_begins_is_judged_as_well(
    three: Switching,
) -> None:
    set_up(three, max_failures="1", strategy="all")
    deployment = three.request("new")
    take_out("three")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.PARTLY_FAILED
    assert currents(three) == ["new", "new", "old"]
    assert told(deployment)["three"] == (
        State.FAILED,
        "three was taken out of the environment.",
    )


def test_and_nothing_is_begun_if_that_is_one_too_many(three: Switching) -> None:
    deployment = three.request("new")
    take_out("three")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert currents(three) == ["old", "old", "old"]
    assert not HostRun.objects.filter(deployment=deployment, started_at__isnull=False)
    assert "three could not be worked on" in told(deployment)["one"][1]


def test_one_whose_command_may_still_run_is_lost_not_failed(three: Switching) -> None:
    set_up(three, max_failures="1")
    deployment = begin(three)
    run_of_two = deployment.host_runs.get(server_name="two")
    step = run_of_two.steps.filter(state="queued").first()
    assert step is not None
    # As a worker left it that died in the middle of the step.
    now = timezone.now()
    Step.objects.filter(pk=step.pk).update(state=State.RUNNING, started_at=now)
    HostRun.objects.filter(pk=run_of_two.pk).update(state=State.RUNNING, started_at=now)
    take_out("two")
    go_on(deployment)
    assert told(deployment)["two"] == (State.LOST, "two was taken out of the environment.")
    assert told(deployment)["three"][0] == State.SUCCEEDED


def test_all_of_them_may_leave(three: Switching) -> None:
    deployment = begin(three)
    for name in THREE:
        take_out(name)
    assert go_on(deployment).state == State.FAILED
    assert {state for state, _message in told(deployment).values()} == {State.FAILED}


def test_the_shards_of_others_go_on_too(three: Switching, settings: Settings) -> None:
    set_up(three, max_failures="1")
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SHARD_HOSTS": 1}
    deployment = begin(three)
    assert deployment.shards.count() == 3
    spoil("two")
    assert go_on(deployment).state == State.PARTLY_FAILED
    assert currents(three) == ["new", "old", "new"]
