"""`script/test -s tests/benchmark_scale.py`: many servers, beside bare Fabric and beside few.

Prints medians and ratios; asserts nothing about time.
"""

import shlex
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import fabric
import pytest
from pytest_django import Settings

from deploy_manager.deployments.request import request
from deploy_manager.deployments.run import run
from deploy_manager.models import HostRun, Placement, State
from deploy_manager.packages.inventory import take_inventories
from deploy_manager.recipes import Host, recipe
from deploy_manager.recipes import Site as RecipeSite
from deploy_manager.recipes.holding import inventory_script
from deploy_manager.recipes.ping import FACTS
from tests.parts.installed import Site

pytestmark = pytest.mark.django_db(transaction=True)

SERVERS, ROUNDS = 64, 3


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def by_bare_fabric(site: Site, command: str, stdin: bytes = b"") -> None:
    """What a short script does: a thread, a connection and a command for each server."""

    def ask(placement: Placement) -> None:
        server = placement.server
        with fabric.Connection(
            server.address,
            user=server.user,
            port=server.port,
            connect_kwargs={"key_filename": str(site.sshd.key_file), "look_for_keys": False},
            config=fabric.Config(overrides={"load_ssh_configs": False}),
        ) as connection:
            if not stdin:
                connection.run(command, hide=True, in_stream=False)
                return
            connection.open()
            channel = connection.transport.open_session()
            channel.exec_command(command)
            channel.sendall(stdin)
            channel.shutdown_write()
            while channel.recv(65536):
                pass
            assert channel.recv_exit_status() == 0

    placements = list(site.environment.placements.select_related("server"))
    with ThreadPoolExecutor(len(placements)) as pool:
        list(pool.map(ask, placements))


def by_deployment(site: Site, name: str) -> float:
    """Run a recipe on all servers in this process; the request is not counted."""
    deployment = request(site.environment, name, source="manage.py", requested_by_name="me@here")
    took = seconds(lambda: run(deployment.pk))
    deployment.refresh_from_db()
    assert deployment.state == State.SUCCEEDED, deployment.message
    assert HostRun.objects.filter(deployment=deployment).count() == SERVERS
    return took


def report(name: str, ours: list[float], bare: list[float]) -> None:
    ours_took, bare_took = statistics.median(ours), statistics.median(bare)
    print(
        f"\n{name}: ours {ours_took:.2f} s, bare Fabric {bare_took:.2f} s,"
        f" ratio {ours_took / bare_took:.2f}"
    )


@pytest.fixture
def many(site: Site, settings: Settings, own_recipes: None) -> Site:
    """Deploy paths of one account of one sshd, all with the same release."""
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "MAX_HOSTS_AT_ONCE": SERVERS}
    first = site.add("web0")
    for number in range(1, SERVERS):
        folder = site.add_empty(f"web{number}").folder
        for name in ("current", "releases", "venvs"):
            (folder / name).symlink_to(first.folder / name)
    for machine in site.machines.values():
        shutil.chown(machine.folder, site.sshd.user)
    return site


def test_first_contact(many: Site) -> None:
    @recipe("Ping under a guard", name="guarded_ping")
    def guarded_ping(host: Host, site: RecipeSite) -> None:
        host.run([site.python, "-c", FACTS, site.deploy_path])

    command = shlex.join(["python3", "-c", FACTS, str(many.sshd.home)])
    python = f"{many.machines['web0'].folder}/current/venv/bin/python -I -X utf8 -"
    by_bare_fabric(many, command)  # nobody counts what imports take
    took = defaultdict[str, list[float]](list)
    for _round in range(ROUNDS):
        took["bare"].append(seconds(lambda: by_bare_fabric(many, command)))
        for machine in many.machines.values():
            shutil.rmtree(machine.folder / ".deploy", ignore_errors=True)
        took["the guard is sent"].append(by_deployment(many, "guarded_ping"))
        took["the guard is there"].append(by_deployment(many, "guarded_ping"))
        took["without a guard"].append(by_deployment(many, "ping"))
        took["bare inventory"].append(
            seconds(lambda: by_bare_fabric(many, python, inventory_script()))
        )
        took["inventory"].append(seconds(lambda: ask_all(many)))
    report("Ping, the guard is sent", took["the guard is sent"], took["bare"])
    report("Ping, the guard is there", took["the guard is there"], took["bare"])
    report("Ping without a guard", took["without a guard"], took["bare"])
    report("Inventory", took["inventory"], took["bare inventory"])


def ask_all(site: Site) -> None:
    problems = take_inventories(site.environment.placements.all())
    assert not any(problems.values()), problems
