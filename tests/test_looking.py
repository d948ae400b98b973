"""Recipes that only look need no guard: they leave nothing, wait for nobody, and may run twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from django.db import connection
from pytest_django import Settings

from deploy_manager.deployments.orders import only_look
from deploy_manager.deployments.probing import probe
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, HostRun, LockFile, LogChunk, Server, State, Step
from deploy_manager.models.shards import Shard
from deploy_manager.recipes import Host, Phase, Pipeline, Site, add_pipeline, recipe
from tests.inventory import Inventory
from tests.parts.hosts import is_running
from tests.parts.served import wait_until
from tests.parts.sshd import Sshd, StartSshd
from tests.test_over_ssh import reach_over_ssh

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_recipes"),
]


@contextmanager
def in_thread(act: Callable[[], object]) -> Iterator[None]:
    def carry_out() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = Thread(target=carry_out)
    thread.start()
    yield
    thread.join()


def done(inventory: Inventory, name: str) -> Deployment:
    deployment = inventory.request(name)
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


@pytest.fixture
def remote(
    inventory: Inventory, start_sshd: StartSshd, ssh_settings: Settings, tmp_path: Path
) -> Sshd:
    """The server of the inventory, over SSH, with a folder of its own account."""
    sshd = start_sshd()
    reach_over_ssh(Server.objects.get(), sshd)
    inventory.environment.placements.update(own_deploy_path=f"{sshd.home}/site")
    return sshd


def test_ping_leaves_nothing_there(inventory: Inventory) -> None:
    deployment = done(inventory, "ping")
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    assert list((inventory.folder / "one").iterdir()) == []


def test_nor_over_ssh_where_nothing_was_deployed_yet(inventory: Inventory, remote: Sshd) -> None:
    deployment = done(inventory, "ping")
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    assert list(remote.home.iterdir()) == []


def test_what_is_seen_to_serve_was_not_switched_to(inventory: Inventory) -> None:
    folder = inventory.folder / "one"
    (folder / "releases" / "r1").mkdir(parents=True)
    (folder / "current").symlink_to("releases/r1")
    release = inventory.environment.releases.create(
        name="r1", commit="c" * 40, lock=LockFile.objects.of("d" * 64, "")
    )
    done(inventory, "ping")
    placement = inventory.environment.placements.get()
    assert (placement.active_release, HostRun.objects.get().was_switched) == (release, False)


def test_beside_a_recipe_that_changes_something_it_runs_under_the_guard() -> None:
    @recipe("Peep", only_looks=True)
    def peep(host: Host, site: Site) -> None: ...

    @recipe("Change")
    def change(host: Host, site: Site) -> None: ...

    assert only_look(["peep"])
    assert not only_look(["peep", "change"])
    assert not only_look([])
    assert not only_look(["nobody_knows"])


def test_a_pipeline_of_both_keeps_a_journal(inventory: Inventory) -> None:
    @recipe("Peep", only_looks=True)
    def peep(host: Host, site: Site) -> None:
        host.run("true")

    @recipe("Change")
    def change(host: Host, site: Site) -> None:
        host.run("true")

    add_pipeline(Pipeline("both", "Both", (Phase("run", "Run", ("peep", "change")),)))
    assert done(inventory, "both").state == State.SUCCEEDED
    journal = inventory.folder / "one" / ".deploy" / "journal"
    assert len(list(journal.glob("*/[12]-0/exit"))) == 2


def test_a_cancellation_ends_what_runs_there(inventory: Inventory, remote: Sshd) -> None:
    shown = remote.new_folder() / "pid"

    @recipe("Peep", only_looks=True)
    def peep(host: Host, site: Site) -> None:
        host.run(f"echo $$ > {shown}; sleep 60")

    deployment = inventory.request("peep")

    def cancel_once_it_runs() -> None:
        wait_until(lambda: shown.exists() and shown.read_text().strip() != "")
        Deployment.objects.get().request_cancel("me")

    with in_thread(cancel_once_it_runs):
        run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.CANCELLED
    assert not is_running(int(shown.read_text()))


def test_a_lost_connection_leaves_no_doubt(inventory: Inventory, remote: Sshd) -> None:
    @recipe("Peep", only_looks=True)
    def peep(host: Host, site: Site) -> None:
        host.run("echo begun; sleep 60")

    deployment = inventory.request("peep")

    def cut_once_it_runs() -> None:
        wait_until(lambda: LogChunk.objects.filter(stream=1).exists())
        remote.cut_connections()

    with in_thread(cut_once_it_runs):
        run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert "lost" in str(deployment.message)


def test_one_whose_workers_died_is_not_lost_for_long(inventory: Inventory) -> None:
    deployment = inventory.request("ping")
    Shard.objects.claim(deployment.shards.get().pk, "here:1")
    host = HostRun.objects.get()
    Step.objects.update(state=State.RUNNING, started_at=deployment.created_at)
    HostRun.objects.update(state=State.RUNNING, started_at=deployment.created_at)
    deployment.end(State.LOST, "It is not known.")
    host.refresh_from_db()
    assert host.state == State.LOST
    assert probe(host.pk) == State.FAILED
    assert "cut short" in str(Step.objects.get().message)
