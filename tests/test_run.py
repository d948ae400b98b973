"""A deployment on servers, from the claim to an end that is true for each of them."""

import re
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from deploy_manager import recipes
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import RecipeError
from deploy_manager.models import Deployment, HostRun, State, Step
from deploy_manager.recipes import Host, Phase, Pipeline, Scope, Site, add_pipeline, recipe
from tests.inventory import Inventory
from tests.parts.hosts import is_running

pytestmark = [
    pytest.mark.database,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_recipes"),
]


def add_phases(*phases: Phase) -> None:
    add_pipeline(Pipeline("play", "Play", phases))


def run_it(inventory: Inventory, name: str) -> Deployment:
    deployment = inventory.request(name)
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def run_and_hang_up(deployment_id: int) -> None:
    """Run a deployment in a thread, which has a connection to the database of its own."""
    run(deployment_id)
    connection.close()


def states_of(deployment: Deployment) -> dict[str, State]:
    return {run.server_name: State(run.state) for run in deployment.host_runs.all()}


def log_of(deployment: Deployment) -> str:
    return b"".join(deployment.log_chunks.values_list("data", flat=True)).decode()


@pytest.fixture
def two_servers(inventory: Inventory) -> Inventory:
    inventory.add_server("two")
    return inventory


def test_one_that_waited_runs_after_those_that_were_requested_later(two_servers: Inventory) -> None:
    waiting = two_servers.request("greet")
    tomorrow = timezone.now() + timedelta(days=1)
    Deployment.objects.update(state=State.WAITING, not_before=tomorrow)
    later = [run_it(two_servers, "greet") for _ in range(4)]
    assert Deployment.objects.promote(waiting.pk)
    run(waiting.pk)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.message) == (State.SUCCEEDED, "")
    assert [each.begin_number for each in (*later, waiting)] == [1, 2, 3, 4, 5]


def test_a_server_that_saw_later_deployments_than_the_database_refuses_this_one(
    inventory: Inventory,
) -> None:
    run_it(inventory, "greet")
    run_it(inventory, "greet")
    # As after a backup of the database was restored.
    Deployment.objects.update(begin_number=0)
    restored = run_it(inventory, "greet")
    assert restored.state == State.FAILED
    message = restored.host_runs.get().message
    assert "has seen a later deployment of this site than this one" in message
    assert "fence.json" in message


def test_a_step_and_what_it_printed_stand_on_the_rows(inventory: Inventory) -> None:
    deployment = run_it(inventory, "greet")
    step = Step.objects.get(host_run__deployment=deployment)
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    assert (step.state, step.exit_code) == (State.SUCCEEDED, 0)
    assert step.started_at is not None
    assert step.finished_at is not None
    assert step.started_at <= step.finished_at
    assert "hello from" in log_of(deployment)


def test_one_host_that_fails_does_not_hide_the_others(two_servers: Inventory) -> None:
    deployment = run_it(two_servers, "fail_on_the_second")
    failed = Step.objects.get(host_run__server_name="two")
    assert deployment.state == State.PARTLY_FAILED
    assert states_of(deployment) == {"one": State.SUCCEEDED, "two": State.FAILED}
    assert failed.exit_code == 3
    assert "two" in deployment.message
    assert "oops" in log_of(deployment)


def test_a_failure_before_a_gate_stops_every_host(two_servers: Inventory) -> None:
    add_phases(
        Phase("prepare", "Prepare", ("fail_on_the_second",), gate=True),
        Phase("activate", "Activate", ("greet",)),
    )
    deployment = run_it(two_servers, "play")
    assert deployment.state == State.FAILED
    assert states_of(deployment) == {"one": State.SKIPPED, "two": State.FAILED}
    assert "hello" not in log_of(deployment)
    assert "Prepare failed on two" in HostRun.objects.get(server_name="one").message


def test_no_host_begins_a_phase_before_all_have_ended_the_one_before(
    two_servers: Inventory,
) -> None:
    order: list[str] = []

    @recipe("First")
    def first(host: Host, site: Site) -> None:
        time.sleep(0.3 if host.name == "one" else 0)
        order.append("first")

    @recipe("Second")
    def second(host: Host, site: Site) -> None:
        order.append("second")

    add_phases(Phase("a", "A", ("first",)), Phase("b", "B", ("second",)))
    assert run_it(two_servers, "play").state == State.SUCCEEDED
    assert order == ["first", "first", "second", "second"]


def test_hosts_work_side_by_side(two_servers: Inventory) -> None:
    both = threading.Barrier(2, timeout=10)

    @recipe("Meet")
    def meet(host: Host, site: Site) -> None:
        both.wait()

    assert run_it(two_servers, "meet").state == State.SUCCEEDED


def test_what_runs_once_runs_on_the_first_server(two_servers: Inventory) -> None:
    @recipe("Migrate it", scope=Scope.ONCE)
    def migrate_it(host: Host, site: Site) -> None:
        host.say("migrated")

    deployment = run_it(two_servers, "migrate_it")
    assert states_of(deployment) == {"one": State.SUCCEEDED}


def test_a_deployment_runs_once_however_often_the_message_wakes(inventory: Inventory) -> None:
    deployment = run_it(inventory, "greet")
    sequence = deployment.sequence
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.sequence == sequence
    assert log_of(deployment).splitlines().count("hello from one") == 1


def test_cancelling_stops_the_running_command(inventory: Inventory, tmp_path: Path) -> None:
    @recipe("Linger")
    def linger(host: Host, site: Site) -> None:
        host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"])

    deployment = inventory.request("linger")
    runs = threading.Thread(target=run_and_hang_up, args=(deployment.pk,))
    runs.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    deployment.request_cancel("the boss")
    runs.join(timeout=20)
    deployment.refresh_from_db()
    assert deployment.state == State.CANCELLED
    assert deployment.message == "Cancelled by the boss.\nReached: one."
    assert states_of(deployment) == {"one": State.CANCELLED}
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_an_error_in_a_recipe_stands_in_the_log(inventory: Inventory) -> None:
    @recipe("Stumble")
    def stumble(host: Host, site: Site) -> None:
        raise ZeroDivisionError("nobody expected it")

    deployment = run_it(inventory, "stumble")
    assert deployment.state == State.FAILED
    assert "ZeroDivisionError: nobody expected it" in deployment.message
    assert "Traceback" in log_of(deployment)


def test_what_cannot_be_prepared_touches_no_server(inventory: Inventory) -> None:
    deployment = run_it(inventory, "deploy")
    assert deployment.state == State.FAILED
    assert "No server was touched." in deployment.message
    assert states_of(deployment) == {"one": State.SKIPPED}
    assert not list(inventory.folder.joinpath("one").iterdir())


def test_a_recipe_for_a_release_needs_one(inventory: Inventory) -> None:
    assert "has no release yet" in run_it(inventory, "make_virtualenv").message


def test_a_right_that_was_taken_after_the_click_stops_it(inventory: Inventory) -> None:
    deployment = inventory.request("greet")
    Deployment.objects.filter(pk=deployment.pk).update(source="admin", requested_by_name="gone")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert "gone may no longer run recipes on shop/production" in deployment.message


def test_what_serves_is_seen_on_the_server(inventory: Inventory) -> None:
    placement = inventory.environment.placements.get()
    assert run_it(inventory, "greet").state == State.SUCCEEDED
    placement.refresh_from_db()
    assert placement.seen_at is not None
    assert placement.active_release is None


def test_long_output_of_two_hosts_comes_back_exactly(two_servers: Inventory) -> None:
    @recipe("Count")
    def count(host: Host, site: Site) -> None:
        host.run("i=0; seq 1 100000", timeout=60)

    deployment = run_it(two_servers, "count")
    expected = b"".join(b"%d\n" % number for number in range(1, 100_001))
    for host_run in deployment.host_runs.all():
        printed = host_run.log_chunks.filter(stream=1).values_list("data", flat=True)
        assert b"".join(printed) == expected


def test_every_recipe_of_the_deploy_pipeline_is_known() -> None:
    recipes.load_recipes()
    assert [phase.name for phase in recipes.get_pipeline("deploy").phases] == [
        "prepare",
        "migrate",
        "activate",
        "verify",
        "clean_up",
    ]


def test_what_was_done_before_the_wish_to_cancel_came_is_not_called_cancelled(
    inventory: Inventory,
) -> None:
    @recipe("End late")
    def end_late(host: Host, site: Site) -> None:
        Deployment.objects.get().request_cancel("the boss")
        connection.close()
        time.sleep(2)

    deployment = run_it(inventory, "end_late")
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    assert states_of(deployment) == {"one": State.SUCCEEDED}


@pytest.mark.parametrize("message", ["a\0b", "a\udcffb"])
def test_a_message_that_no_database_takes_is_made_one(inventory: Inventory, message: str) -> None:
    @recipe("Tell oddly")
    def tell_oddly(host: Host, site: Site) -> None:
        raise RecipeError(message)

    deployment = run_it(inventory, "tell_oddly")
    assert deployment.state == State.FAILED
    assert re.fullmatch("one: Tell oddly: a.b", str(deployment.message))


def test_a_recipe_that_would_end_the_worker_ends_its_host_only(two_servers: Inventory) -> None:
    @recipe("Leave")
    def leave(host: Host, site: Site) -> None:
        if host.name == "one":
            sys.exit("enough")

    deployment = run_it(two_servers, "leave")
    assert states_of(deployment) == {"one": State.FAILED, "two": State.SUCCEEDED}
    assert "SystemExit: enough" in deployment.message
