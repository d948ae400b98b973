"""The whole way of a deployment to servers over SSH, and of the next one after it."""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from deploy_manager.deployments.run import run
from deploy_manager.hosts.keys import fingerprint
from deploy_manager.models import Deployment, Environment, Placement, Server, State, Step
from tests.inventory import Inventory
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.processes import free_port
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd, StartSshd

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("web1", "web2")
# The newest gunicorn needs no other package; the oldest one that is let in needs this one.
PINS = "".join(f"{name}=={version(name)}\n" for name in ("gunicorn", "packaging"))
SMALL_SITE = {
    "manage.py": "",
    "site_wsgi.py": """
import json, os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"status": "ok", "commit": os.environ["DEPLOY_COMMIT"]}).encode()]
""",
}
"""A site that needs nothing but gunicorn: its environment is filled in a second."""


def reach_over_ssh(server: Server, sshd: Sshd) -> None:
    server.connection = Server.Connection.SSH
    server.address, server.port, server.user = sshd.address, sshd.port, sshd.user
    server.host_key = sshd.host_key
    server.full_clean()
    server.save()


def place(inventory: Inventory, server: Server, sshd: Sshd) -> None:
    """Place the site in the folder of a server's account, on a port of its own."""
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
    """`shop/production` on two servers, each with an address and a host key of its own."""
    servers = {
        name: start_sshd(ListenAddress=f"127.0.9.{number}") for number, name in enumerate(NAMES, 1)
    }
    made = make_site(tmp_path, guestbook, servers["web1"].home / "guestbook.sqlite3")
    for name, sshd in servers.items():
        server = Server(name=name)
        reach_over_ssh(server, sshd)
        place(made, server, sshd)
    yield made
    end_gunicorns(made.environment)


@pytest.fixture
def machine(start_sshd: StartSshd, ssh_settings: Settings) -> Sshd:
    return start_sshd()


@pytest.fixture
def moving(
    repository: Repository, machine: Sshd, tmp_path: Path, transactional_db: None
) -> Iterator[Inventory]:
    """`shop/production` on one local server, in the folder that `machine` has as HOME."""
    repository.commit("Answer", {**SMALL_SITE, "requirements.txt": PINS})
    made = make_site(tmp_path, repository, machine.home / "unused.sqlite3")
    Environment.objects.update(wsgi_application="site_wsgi:application")
    made.environment.refresh_from_db()
    place(made, Server.objects.create(name="web", connection=Server.Connection.LOCAL), machine)
    os.chown(machine.home, os.geteuid(), os.getegid())  # nobody deploys below another's folder
    yield made
    end_gunicorns(made.environment)


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def try_to_deploy(inventory: Inventory) -> Deployment:
    deployment = inventory.request("deploy")
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def deploy(inventory: Inventory) -> Deployment:
    deployment = try_to_deploy(inventory)
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    return deployment


def answers(inventory: Inventory) -> list[dict[str, Any]]:
    """What each site says of itself, over HTTP."""
    told = []
    for placement in inventory.environment.placements.all():
        with urllib.request.urlopen(f"http://{placement.bind}/health/", timeout=10) as answer:
            told.append(json.load(answer))
    return told


def test_a_site_and_its_next_release_reach_every_server(
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


@pytest.mark.long
def test_a_server_with_another_host_key_keeps_the_release_from_all(production: Inventory) -> None:
    pinned = {server.name: server.host_key for server in Server.objects.all()}
    Server.objects.filter(name="web2").update(host_key=pinned["web1"])
    deployment = try_to_deploy(production)
    assert deployment.state == State.FAILED
    assert {run.server_name: run.state for run in deployment.host_runs.all()} == {
        **dict.fromkeys(NAMES, State.SKIPPED),
        "web2": State.FAILED,
    }
    message = deployment.host_runs.get(server_name="web2").message
    assert fingerprint(pinned["web1"]) in message
    assert fingerprint(pinned["web2"]) in message
    for placement in production.environment.placements.all():
        assert placement.active_release is None
        assert not (Path(placement.deploy_path) / "current").is_symlink()
    assert not Path(production.environment.variables["DATABASE_PATH"]).exists()


def test_a_site_moves_to_a_server_over_ssh_by_its_server_row_only(
    moving: Inventory, repository: Repository, machine: Sshd
) -> None:
    deploy(moving)
    assert answers(moving)[0]["commit"] == repository.head
    end_gunicorns(moving.environment)
    empty(machine.home)  # The other machine has a disk of its own.
    shutil.chown(machine.home, machine.user)

    reach_over_ssh(Server.objects.get(), machine)
    deploy(moving)
    assert answers(moving)[0]["commit"] == repository.head
    assert (machine.home / "site/current").owner() == machine.user
