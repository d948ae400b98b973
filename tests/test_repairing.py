"""A package that was changed by hand on a server: seen, and repaired while the site serves."""

import shlex
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Event

import pytest
from pytest_django import Settings

from deploy_manager.addresses import address_of
from deploy_manager.deployments.choices import converge
from deploy_manager.deployments.request import request
from deploy_manager.deployments.run import run
from deploy_manager.hosts.opening import open_host
from deploy_manager.models import Deployment, Environment, Placement, Server, State
from deploy_manager.packages.drift import drift
from deploy_manager.packages.inventory import take_inventories
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_text
from tests.inventory import Inventory
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.index import Index
from tests.parts.processes import free_port
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd, StartSshd
from tests.test_over_ssh import deploy, place, reach_over_ssh

pytestmark = pytest.mark.django_db(transaction=True)

GUNICORN = version("gunicorn")
SITE = {
    "manage.py": "",
    "site_wsgi.py": """
import shopkit
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"shopkit {shopkit.VERSION}".encode()]
""",
}


@pytest.fixture
def index(package_index: Index, tmp_path: Path) -> Index:
    """gunicorn as it is, and two versions of the shop's own kit."""
    words = ["download", "--quiet", "--dest", str(tmp_path / "wheels")]
    subprocess.run([sys.executable, "-m", "pip", *words, f"gunicorn=={GUNICORN}"], check=True)
    for file in (tmp_path / "wheels").glob("*.whl"):
        package_index.offer(file)
    for number in ("1.0", "1.1"):
        package_index.add("shopkit", number)
    return package_index


@pytest.fixture
def machine(start_sshd: StartSshd, ssh_settings: Settings) -> Sshd:
    return start_sshd()


@pytest.fixture
def production(
    repository: Repository,
    index: Index,
    machine: Sshd,
    tmp_path: Path,
    transactional_db: None,
) -> Iterator[Inventory]:
    """`shop/production` on this machine and on one over SSH, both deployed."""
    pins = complete_pins(f"gunicorn=={GUNICORN}\nshopkit==1.1\n", index_url=index.url)
    repository.commit("Greet", {**SITE, "requirements.txt": lock_text(pins)})
    made = make_site(tmp_path, repository, tmp_path / "unused.sqlite3")
    Environment.objects.update(
        wsgi_application="site_wsgi:application",
        health_text="shopkit",
        index_url=index.url,
    )
    made.environment.refresh_from_db()
    here = made.add_server("here")
    Placement.objects.filter(pk=here.pk).update(own_bind=f"127.0.0.1:{free_port()}")
    there = Server(name="there")
    reach_over_ssh(there, machine)
    place(made, there, machine)
    deploy(made)
    yield made
    end_gunicorns(made.environment)


def placed(production: Inventory, server: str) -> Placement:
    return production.environment.placements.get(server__name=server)


def change_by_hand(production: Inventory, index: Index, server: str) -> None:
    """Install another version on a server, by its own account."""
    placement = placed(production, server)
    path = shlex.quote(placement.deploy_path)
    with closing(open_host(address_of(placement.server), lambda *_: None, Event())) as host:
        host.run(
            f"cd {path} && .deploy/uv-[0-9]* pip install --quiet --no-cache shopkit==1.0"
            f" --python current/venv/bin/python --default-index {index.url}"
        )


def drifting(production: Inventory) -> dict[str, list[str]]:
    """Ask all servers; return who is not as pinned, by package."""
    assert set(take_inventories(production.environment.placements.all()).values()) == {""}
    found = drift([production.environment])
    return {each.name: [one.server.name for one in each.versions["1.0"]] for each in found}


def make_alike(production: Inventory, server: str) -> Deployment:
    options = converge(production.environment, [server])
    words = {"source": "manage.py", "requested_by_name": "me@here", "options": options}
    deployment = request(production.environment, "converge", **words)  # type: ignore[arg-type]
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def log_of(deployment: Deployment) -> str:
    return b"".join(bytes(chunk.data) for chunk in deployment.log_chunks.all()).decode()


@contextmanager
def visited(placement: Placement) -> Iterator[set[str]]:
    """Ask a site over and over; gather every answer, errors too."""
    answers: set[str] = set()
    over = Event()

    def visit() -> None:
        while not over.is_set():
            try:
                with urllib.request.urlopen(f"http://{placement.bind}/", timeout=10) as answer:
                    answers.add(answer.read().decode())
            except OSError as error:
                answers.add(repr(error))

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        yield answers
    finally:
        over.set()
        visitor.join()


@pytest.mark.long
def test_what_was_changed_by_hand_is_repaired_while_the_site_serves(
    production: Inventory, index: Index
) -> None:
    assert drifting(production) == {}
    for server in ("here", "there"):
        change_by_hand(production, index, server)
    assert drifting(production) == {"shopkit": ["here", "there"]}
    for server in ("here", "there"):
        with visited(placed(production, server)) as answers:
            deployment = make_alike(production, server)
        assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
        assert "shopkit is 1.0, should be 1.1" in log_of(deployment)
        assert answers == {"shopkit 1.1"}
        folder = Path(placed(production, server).deploy_path)
        assert [made.name[32:] for made in (folder / "venvs").iterdir()] == [".2"]
    assert drifting(production) == {}

    change_by_hand(production, index, "there")
    deployment = deploy(production)
    assert log_of(deployment).count("shopkit is 1.0, should be 1.1") == 1
    assert drifting(production) == {}
