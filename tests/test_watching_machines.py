"""Processes on Debian servers are watched between deployments: killed, started again, rebooted."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from pytest_django import Settings

from deploy_manager.models import Placement, Server, Watch
from deploy_manager.recipes import Process
from deploy_manager.watching import judging, rounds
from tests.inventory import make_inventory
from tests.parts.machine_site import MachineSite
from tests.parts.served import wait_until
from tests.watching import serve

pytestmark = [pytest.mark.machines, pytest.mark.django_db]

WORKER = Process("worker", "command", command="exec sleep 600")


@dataclass
class Watched:
    """A site on a machine, and its rows."""

    site: MachineSite
    placement: Placement

    def look(self) -> dict[str, str]:
        """Look once, as a worker does; return the state of each process."""
        rounds.watch([self.placement.pk])
        assert self.watch.problem == ""
        return {str(row): row.state for row in self.watch.processes.all()}

    @property
    def watch(self) -> Watch:
        return Watch.objects.get(placement=self.placement)

    def deploy(self, release: str) -> None:
        self.site.deploy(release)
        serve(self.placement.environment, release)

    def kill(self, pattern: str) -> None:
        self.site.machine.run(f"pkill -9 -x -f '{pattern}'")


@pytest.fixture
def watched(machine_site: MachineSite, ssh_settings: Settings) -> Watched:
    machine = machine_site.machine
    environment = make_inventory(machine.folder).environment
    environment.deploy_path = machine_site.path
    environment.restart_down = True
    environment.save()
    server = Server.objects.create(
        name="web1",
        address=machine.address,
        port=machine.port,
        user=machine.user,
        host_key=machine.host_key,
    )
    placement = Placement.objects.create(environment=environment, server=server)
    machine_site.run_processes(WORKER)
    return Watched(machine_site, placement)


def test_a_killed_process_is_seen_and_started_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "SETTLES", timedelta(0))
    watched.site.change(supervisor="starter")
    watched.deploy("r1")
    assert watched.look() == {"web 1": "up", "worker 1": "up"}
    watched.kill("sleep 600")
    assert watched.look()["worker 1"] == "down"
    watched.look()  # seen twice: it is started
    assert watched.look() == {"web 1": "up", "worker 1": "up"}
    assert watched.watch.starts == 1
    assert watched.watch.supervisor == "starter"


@pytest.mark.long
def test_what_systemd_starts_again_is_left_to_it(watched: Watched) -> None:
    watched.deploy("r1")
    watched.look()
    watched.kill("sleep 600")
    wait_until(lambda: watched.look()["worker 1"] == "restarting")
    assert watched.look() == {"web 1": "up", "worker 1": "up"}
    assert watched.watch.starts == 0


def test_a_power_cycle_is_seen_and_brings_everything_back(watched: Watched) -> None:
    watched.deploy("r1")
    watched.look()
    assert watched.watch.boot_id == watched.site.machine.boot_id
    watched.site.power_cycle()
    wait_until(lambda: watched.look() == {"web 1": "up", "worker 1": "up"})
    watch = watched.watch
    assert watch.rebooted_at is not None
    assert watch.back_at is not None
    assert watch.rebooted_at <= watch.back_at
    assert watch.starts == 0


@pytest.mark.long
def test_a_unit_that_was_stopped_by_hand_is_started(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "SETTLES", timedelta(0))
    watched.site.change(supervisor="systemd")
    watched.deploy("r1")
    watched.look()
    watched.site.machine.run("systemctl stop 'shop-production-*'", user="root")
    assert watched.look() == {"web 1": "down", "worker 1": "down"}
    watched.look()
    assert watched.look() == {"web 1": "up", "worker 1": "up"}
    assert watched.site.said() == "r1"
