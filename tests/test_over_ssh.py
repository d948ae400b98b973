"""The whole way of a deployment to four servers over SSH, and of the next one after it."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from deploy_manager.models import Deployment, Placement, Server, State, Step
from deploy_manager.runner import run
from tests.inventory import Inventory
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.processes import free_port
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd, StartSshd

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("web1", "web2", "web3", "web4")


def add_ssh_server(inventory: Inventory, name: str, sshd: Sshd) -> None:
    """Place the site in the folder of a server's account, on a port of its own."""
    server = Server.objects.create(
        name=name, address=sshd.address, port=sshd.port, user=sshd.user, host_key=sshd.host_key
    )
    Placement.objects.create(
        environment=inventory.environment,
        server=server,
        order=inventory.environment.placements.count() + 1,
        own_deploy_path=f"{sshd.home}/site",
        own_bind=f"{sshd.address}:{free_port()}",
    )


@pytest.fixture
def production(
    guestbook: Repository,
    start_sshd: StartSshd,
    ssh_settings: Settings,
    tmp_path: Path,
    transactional_db: None,
) -> Iterator[Inventory]:
    """`shop/production` on four servers, each with an address and a host key of its own."""
    servers = {
        name: start_sshd(ListenAddress=f"127.0.9.{number}") for number, name in enumerate(NAMES, 1)
    }
    made = make_site(tmp_path, guestbook, servers["web1"].home / "guestbook.sqlite3")
    for name, sshd in servers.items():
        add_ssh_server(made, name, sshd)
    yield made
    end_gunicorns(made.environment)


def deploy(inventory: Inventory) -> Deployment:
    deployment = inventory.request("deploy")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    return deployment


def answers(inventory: Inventory) -> list[dict[str, Any]]:
    """What each site says of itself, over HTTP."""
    told = []
    for placement in inventory.environment.placements.all():
        with urllib.request.urlopen(f"http://{placement.bind}/health/", timeout=10) as answer:
            told.append(json.load(answer))
    return told


def test_a_site_and_its_next_release_reach_four_servers(
    production: Inventory, guestbook: Repository
) -> None:
    first = deploy(production)
    assert {told["commit"] for told in answers(production)} == {guestbook.head}
    assert [run.server_name for run in first.host_runs.all()] == list(NAMES)
    assert Step.objects.filter(host_run__deployment=first, recipe="migrate").count() == 1

    guestbook.commit("Say hello", {"hello.txt": "hello"})
    second = deploy(production)
    assert {told["commit"] for told in answers(production)} == {guestbook.head}
    assert first.release is not None
    assert second.release is not None
    assert first.release.lock == second.release.lock
    for placement in production.environment.placements.all():
        site = Path(placement.deploy_path)
        assert placement.active_release == second.release
        assert (site / "current").resolve() == site / "releases" / second.release.name
        assert (site / "current/hello.txt").exists()
        assert len(list((site / "venvs").iterdir())) == 1
