"""A worker dies, or leaves: another takes its deployment over, and nothing is done twice."""

import os
import signal
import subprocess
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from deploy_manager.deployments.run import run, run_shard
from deploy_manager.deployments.shutdown import process_ends
from deploy_manager.exceptions import HandedOver
from deploy_manager.models import Deployment, HostRun, Shard, ShardState, State, Step
from deploy_manager.recipes import Host, Site, recipe, registry
from deploy_manager.reconcile import reconcile
from tests.inventory import Inventory
from tests.parts.served import wait_until
from tests.releases import Switching

pytestmark = [pytest.mark.database, pytest.mark.workers, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def slow(own_recipes: None) -> None:
    """A recipe of three commands; the second one ends when the file `go` appears."""

    @recipe("Count slowly")
    def count_slowly(host: Host, site: Site) -> None:
        told = f"{site.deploy_path}/told"
        host.run(f"echo first | tee -a {told}")
        host.run(
            f"echo second | tee -a {told}; n=0;"
            f" while [ ! -e {site.deploy_path}/go ]; do n=$((n+1)); echo line $n; sleep 0.1; done"
        )
        host.run(f"echo third | tee -a {told}")


def run_apart(deployment: Deployment) -> int:
    """Run it in a process of its own, as a worker would; return the process id."""
    connection.close()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            run(deployment.pk)
        finally:
            os._exit(0)
    return pid


def fall_silent(deployment: Deployment) -> None:
    """Let its holder not have beaten for some time."""
    deployment.shards.update(beat_at=timezone.now() - timedelta(seconds=12))


def log_of(deployment: Deployment) -> str:
    return b"".join(deployment.log_chunks.values_list("data", flat=True)).decode()


def test_what_a_killed_worker_left_is_gone_on_with_and_nothing_is_done_twice(
    inventory: Inventory, slow: None
) -> None:
    folder = inventory.folder / "one"
    deployment = inventory.request("count_slowly")
    worker = run_apart(deployment)
    wait_until(lambda: "line 3" in log_of(deployment))
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    assert Deployment.objects.get(pk=deployment.pk).state == State.RUNNING

    fall_silent(deployment)
    (folder / "go").touch()
    run(deployment.pk)

    deployment.refresh_from_db()
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    assert (folder / "told").read_text().split() == ["first", "second", "third"]
    held = deployment.shards.get()
    assert (held.token, held.taken_over) == (2, 1)
    lines = log_of(deployment).splitlines()
    printed = [line for line in lines if not line.startswith(("$", "Connecting"))]
    counted = (f"line {number}" for number in range(1, len(printed) - 2))
    assert printed == ["first", "second", *counted, "third"]
    assert sum(line.startswith("$") for line in lines) == 3
    assert lines.count("Connecting to one (this machine).") == 2


def test_who_was_stopped_past_its_lease_writes_nothing_more(
    inventory: Inventory, slow: None
) -> None:
    folder = inventory.folder / "one"
    deployment = inventory.request("count_slowly")
    worker = run_apart(deployment)
    wait_until(lambda: "line 3" in log_of(deployment))
    os.kill(worker, signal.SIGSTOP)
    fall_silent(deployment)
    (folder / "go").touch()
    run(deployment.pk)
    before = Deployment.objects.values().get(pk=deployment.pk)
    os.kill(worker, signal.SIGCONT)
    os.waitpid(worker, 0)
    assert Deployment.objects.values().get(pk=deployment.pk) == before
    assert before["state"] == State.SUCCEEDED
    assert (folder / "told").read_text().split() == ["first", "second", "third"]


def test_a_worker_that_ends_hands_over(inventory: Inventory, slow: None) -> None:
    folder = inventory.folder / "one"
    deployment = inventory.request("count_slowly")
    woken: list[int] = []
    pk = deployment.shards.get().pk

    def run_and_hang_up() -> None:
        run_shard(pk, woken.append)
        connection.close()

    work = threading.Thread(target=run_and_hang_up)
    work.start()
    try:
        wait_until(lambda: "line 3" in log_of(deployment))
        process_ends.set()
        work.join(5)
        assert not work.is_alive()
    finally:
        process_ends.clear()
    assert woken == [pk]
    assert Shard.objects.get(pk=pk).state == ShardState.QUEUED
    assert Step.objects.get(host_run__deployment=deployment).state == State.RUNNING

    (folder / "go").touch()
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.SUCCEEDED
    assert (folder / "told").read_text().split() == ["first", "second", "third"]


@pytest.mark.parametrize("before", ["", "old"])
def test_what_is_taken_over_after_its_switch_did_not_serve_before_it(
    switching: Switching, before: str
) -> None:
    """The first worker switched `current`, and died before it looked."""
    if before:
        assert switching.switch_to(before).state == State.SUCCEEDED
    known = registry._recipes["activate"]

    def switch_and_leave(host: Host, site: Site) -> None:
        known.function(host, site)
        raise HandedOver

    deployment = switching.request("new")
    registry._recipes["activate"] = replace(known, function=switch_and_leave)
    run_shard(deployment.shards.get().pk, lambda pk: None)
    assert switching.current("one") == "new"
    registry._recipes["activate"] = known
    run(deployment.pk)
    deployment.refresh_from_db()
    host = deployment.host_runs.get()
    assert (deployment.state, host.was_switched) == (State.SUCCEEDED, True)
    assert (host.release_before.name if host.release_before else "") == before


def test_what_nobody_takes_over_ends_as_lost(inventory: Inventory, slow: None) -> None:
    deployment = inventory.request("count_slowly")
    worker = run_apart(deployment)
    wait_until(lambda: "line 1" in log_of(deployment))
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    deployment.shards.update(beat_at=timezone.now() - timedelta(seconds=60))
    reconcile(lambda pk: None)
    (inventory.folder / "one" / "go").touch()
    deployment.refresh_from_db()
    assert deployment.state == State.LOST
    assert deployment.host_runs.get().state == State.LOST


def test_a_cancelled_deployment_that_is_taken_over_stops_what_runs(
    inventory: Inventory, slow: None
) -> None:
    deployment = inventory.request("count_slowly")
    worker = run_apart(deployment)
    wait_until(lambda: "line 1" in log_of(deployment))
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    deployment.request_cancel("the boss")
    fall_silent(deployment)
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.CANCELLED
    told = (inventory.folder / "one" / "told").read_text().split()
    assert told == ["first", "second"]
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"{inventory.folder}/one/go" not in processes.stdout


def test_what_is_lost_is_found_out_from_the_journal(inventory: Inventory, slow: None) -> None:
    folder = inventory.folder / "one"
    deployment = inventory.request("count_slowly")
    worker = run_apart(deployment)
    wait_until(lambda: "line 1" in log_of(deployment))
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    deployment.shards.update(beat_at=timezone.now() - timedelta(seconds=60))
    run_of_one = deployment.host_runs.get()
    reconcile(lambda pk: None)
    run_of_one.refresh_from_db()
    assert run_of_one.state == State.LOST  # its command still runs

    (folder / "go").touch()

    def is_known() -> bool:
        HostRun.objects.update(probed_at=None)
        reconcile(lambda pk: None)
        run_of_one.refresh_from_db()
        return run_of_one.state != State.LOST

    wait_until(is_known)
    deployment.refresh_from_db()
    assert (run_of_one.state, deployment.state) == (State.FAILED, State.FAILED)
    assert "cut short" in run_of_one.message
    assert (folder / "told").read_text().split() == ["first", "second"]
