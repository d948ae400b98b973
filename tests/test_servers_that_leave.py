"""A server that leaves, or whose row breaks, in the middle of a deployment ends alone."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from deploy_manager.deployments import progress
from deploy_manager.deployments.leaving import leave_out_who_left
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.rollout import open_after_pause
from deploy_manager.deployments.run import run, run_shard
from deploy_manager.models import (
    Deployment,
    Environment,
    HostRun,
    Placement,
    State,
    Step,
)
from deploy_manager.recipes import Host, Phase, Pipeline, Scope, Site, Uses, add_pipeline, recipe
from tests.inventory import Inventory, claim
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


def see(deployment: Deployment) -> Deployment:
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def test_one_that_leaves_before_the_deployment_begins_is_left_out(three: Switching) -> None:
    set_up(three, strategy="all")
    deployment = three.request("new")
    take_out("three")
    assert see(deployment).state == State.SUCCEEDED, deployment.message
    assert currents(three) == ["new", "new", "old"]
    state, message = told(deployment)["three"]
    assert (state, message.startswith("Left out: ")) == (State.CANCELLED, True)
    assert told(deployment)["one"] == told(deployment)["two"] == (State.SUCCEEDED, "")
    steps = Step.objects.filter(host_run__deployment=deployment, host_run__server_name="three")
    assert set(steps.values_list("state", flat=True)) == {State.CANCELLED}


def test_one_whose_roles_were_changed_meanwhile_was_not_confirmed_so_it_is_not_begun(
    three: Switching,
) -> None:
    @recipe("Only app", roles=("app",), uses=Uses.GIVEN)
    def only_app(host: Host, site: Site) -> None: ...

    add_pipeline(Pipeline("apps", "Apps", (Phase("app", "App", ("only_app",)),), given=True))
    environment = three.inventory.environment
    options = DeploymentOptions(release=three.make_release("new"))
    asked = request(
        environment, "apps", source="manage.py", requested_by_name="ana", options=options
    )
    Placement.objects.filter(server__name="two").update(roles=["database"])
    take_out("three")
    ended = see(asked)
    assert (ended.state, ended.message.code) == (State.FAILED, "plan_changed")
    assert 'roles of shop/production on two (placement): ["app"] → ["database"]' in ended.message
    assert "No server was touched." in ended.message


def test_an_open_page_gets_the_steps_that_were_planned_anew(three: Switching) -> None:
    deployment = three.request("new")
    take_out("three")
    leave_out_who_left(claim(deployment))
    runs = deployment.host_runs.filter(server_name__in=["one", "two"])
    planned = Step.objects.filter(host_run__in=runs)
    seen = {step.pk for step in progress.read(deployment.pk, after=0).steps}
    assert seen.issuperset(planned.values_list("pk", flat=True))


def test_one_that_was_left_out_is_no_failure_to_tolerate(three: Switching) -> None:
    set_up(three, max_failures="1", strategy="all")
    three.break_server("one")
    deployment = three.request("new")
    take_out("three")
    assert see(deployment).state == State.PARTLY_FAILED
    assert currents(three) == ["new", "new", "old"]


def test_nor_is_it_one_of_the_servers_that_a_percentage_is_of(three: Switching) -> None:
    set_up(three, max_failures="34%", strategy="all")  # one of three, and none of two
    three.break_server("one", "prepare")
    deployment = three.request("new")
    take_out("three")
    assert see(deployment).state == State.FAILED
    assert currents(three) == ["old", "old", "old"]


def test_the_other_shards_begin_if_all_servers_of_the_first_one_left(
    three: Switching, settings: Settings
) -> None:
    set_up(three, strategy="all")
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SHARD_HOSTS": 1}
    deployment = three.request("new")
    take_out("one")
    assert see(deployment).state == State.SUCCEEDED, deployment.message
    assert currents(three) == ["old", "new", "new"]


def test_the_next_server_is_the_canary_if_the_first_one_left(three: Switching) -> None:
    set_up(three, batch="", pause=0)
    deployment = three.request("new")
    take_out("one")
    three.break_server("two")
    assert see(deployment).state == State.FAILED
    assert currents(three) == ["old", "new", "old"]
    assert list(deployment.host_runs.order_by("pk").values_list("wave", flat=True)) == [1, 1, 2]


@pytest.mark.parametrize("is_retry", [False, True], ids=["first", "retry"])
def test_what_runs_once_for_all_runs_on_another_server_unless_it_was_done(
    inventory: Inventory, own_recipes: None, is_retry: bool
) -> None:
    inventory.add_server("two")

    @recipe("Move the tables", scope=Scope.ONCE)
    def move_tables(host: Host, site: Site) -> None:
        host.run(f"touch {site.deploy_path}/moved")

    phases = (
        Phase("migrate", "Migrate", ("move_tables",), gate=True),
        Phase("run", "Run", ("greet",)),
    )
    add_pipeline(Pipeline("grow", "Grow", phases))
    options = DeploymentOptions(without=frozenset({"move_tables"} if is_retry else ()))
    deployment = request(
        inventory.environment, "grow", source="fab", requested_by_name="me", options=options
    )
    take_out("one")
    assert see(deployment).state == State.SUCCEEDED, deployment.message
    assert (inventory.folder / "two/moved").exists() != is_retry
    done = deployment.host_runs.get(server_name="two").steps.values_list("recipe", flat=True)
    assert list(done) == (["greet"] if is_retry else ["move_tables", "greet"])


def test_one_that_was_given_to_another_environment_is_left_out(three: Switching) -> None:
    set_up(three, strategy="all")
    deployment = three.request("new")
    other = Environment.objects.create(
        project=three.inventory.environment.project, name="other", deploy_path="/srv/other"
    )
    Placement.objects.filter(server__name="three").update(environment=other)
    assert see(deployment).state == State.SUCCEEDED, deployment.message
    assert currents(three) == ["new", "new", "old"]


def test_nothing_is_begun_if_no_server_is_left(three: Switching) -> None:
    deployment = three.request("new")
    for name in THREE:
        take_out(name)
    assert see(deployment).state == State.FAILED
    assert deployment.message == (
        "Every server that this was requested for has left shop/production. No server was touched."
    )
    assert currents(three) == ["old", "old", "old"]
    assert not HostRun.objects.filter(deployment=deployment, started_at__isnull=False)


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
