"""`script/test -s tests/benchmark_scale.py`: many servers, beside bare Fabric and beside few.

Prints medians and ratios; asserts nothing about time.
"""

import json
import os
import re
import shlex
import shutil
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module, reload
from pathlib import Path
from typing import Any

import fabric
import pytest
from django.db import connections
from django.db.backends.signals import connection_created
from pytest_django import Settings

from deploy_manager import dispatch
from deploy_manager.deployments.request import request
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, HostRun, LogChunk, Placement, Server, State
from deploy_manager.packages.inventory import take_inventories
from deploy_manager.recipes import Host, recipe
from deploy_manager.recipes import Site as RecipeSite
from deploy_manager.recipes.holding import inventory_script
from deploy_manager.recipes.ping import FACTS
from tests.inventory import Inventory
from tests.parts.installed import Site
from tests.parts.processes import running
from tests.parts.worker import environment_of_a_worker

pytestmark = pytest.mark.django_db(transaction=True)

SERVERS, ROUNDS = 64, 3
WORKERS, QUERIED = 4, 50
PATIENCE = 500.0
"""Seconds."""


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


@dataclass
class Worker:
    """A worker's process, and what it had used before it was given work."""

    pid: int
    seconds: float
    bytes: int


@pytest.fixture
def workers(
    embedded_broker: None, transactional_db: None, tmp_path: Path, settings: Settings
) -> Iterator[list[Worker]]:
    """Real Celery workers, in which hosts are stand-ins (tests/stand_in)."""
    made = []
    own = {"TEST_APPS": json.dumps(["tests.stand_in"])}
    with ExitStack() as stack:
        for number in range(WORKERS):
            log = tmp_path / f"worker{number}.log"
            command = [sys.executable, "-m", "celery", "-A", "tests.celery_app", "worker"]
            command += ["--pool", "threads", "--concurrency", "2", "-n", f"worker{number}@%h"]
            process = stack.enter_context(
                running(
                    [*command, "--loglevel", "info"],
                    partial(is_ready, log),
                    log,
                    environment={**os.environ, **environment_of_a_worker(settings), **own},
                )
            )
            made.append(Worker(process.pid, 0, 0))
        yield made


def is_ready(log: Path) -> bool:
    return "ready." in log.read_text(errors="replace")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("hosts", [200, 1000])
def test_many_hosts(
    inventory: Inventory, workers: list[Worker], own_recipes: None, hosts: int
) -> None:
    stand_ins = import_module("tests.stand_in.recipes")
    reload(stand_ins)  # another test may have had them registered, and forgotten
    add_servers(inventory, hosts - 1)
    warm_up(inventory)
    for worker in workers:
        worker.seconds, worker.bytes = processor_seconds(worker.pid), memory(worker.pid, "VmRSS")
    began = time.perf_counter()
    asked = dispatch.request(
        inventory.environment, "stand_in", source="manage.py", requested_by_name="me@here"
    )
    wait_for(asked, PATIENCE)
    took = time.perf_counter() - began
    assert asked.state == State.SUCCEEDED, asked.message
    steps = hosts * stand_ins.STEPS
    used = sum(processor_seconds(each.pid) - each.seconds for each in workers)
    grown = sum(memory(each.pid, "VmHWM") - each.bytes for each in workers)
    print(
        f"\n{hosts} stand-in hosts, {stand_ins.STEPS} steps, {WORKERS} workers: {took:.1f} s,"
        f" {took / hosts * 1000:.0f} ms a host; of the workers {used / steps * 1000:.1f} ms of"
        f" processor time a host and step, {grown / hosts / 2**20:.2f} MiB a host;"
        f" {LogChunk.objects.filter(deployment=asked).count()} log chunks"
    )


def add_servers(inventory: Inventory, number: int) -> None:
    servers = Server.objects.bulk_create(
        Server(name=f"web{each}", connection=Server.Connection.LOCAL) for each in range(number)
    )
    Placement.objects.bulk_create(
        Placement(
            environment=inventory.environment,
            server=server,
            roles=["app"],
            order=order,
            own_deploy_path=f"/srv/{server.name}",
        )
        for order, server in enumerate(servers, 2)
    )


def warm_up(inventory: Inventory) -> None:
    """Have all workers import what they need, which nobody counts."""
    with_all = dispatch.request(
        inventory.environment, "stand_in", source="manage.py", requested_by_name="me@here"
    )
    wait_for(with_all, PATIENCE)


def wait_for(deployment: Deployment, seconds: float) -> None:
    until = time.monotonic() + seconds
    while State(deployment.state).is_live and time.monotonic() < until:
        time.sleep(0.05)
        deployment.refresh_from_db()


def test_queries_of_a_host_and_step(inventory: Inventory, own_recipes: None) -> None:
    """In this process, where they can be counted: all hosts, shard after shard."""
    stand_ins = import_module("tests.stand_in.recipes")
    reload(stand_ins)
    apps = import_module("tests.stand_in.apps")
    add_servers(inventory, QUERIED - 1)
    deployment = inventory.request("stand_in")
    counted = Counter[str]()

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        words = re.sub(r"\s+", " ", sql).split()
        table = re.search(r'(?:FROM|INTO|UPDATE) "(\w+)"', sql)
        counted[f"{words[0]} {table[1] if table else ' '.join(words[1:3])}"] += 1
        return execute(sql, *rest)

    def wrap(connection: Any, **details: Any) -> None:
        connection.execute_wrappers.append(count)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "deploy_manager.deployments.host_work.open_guarded",
            lambda address, work, sink, *rest, **options: apps.StandIn(address.name, sink),
        )
        connections.close_all()
        connection_created.connect(wrap)
        began = time.process_time()
        run(deployment.pk)
        used = time.process_time() - began
        connection_created.disconnect(wrap)
    connections.close_all()
    deployment.refresh_from_db()
    assert deployment.state == State.SUCCEEDED, deployment.message
    steps = QUERIED * stand_ins.STEPS
    print(
        f"\n{QUERIED} hosts, {stand_ins.STEPS} steps, in this process:"
        f" {counted.total() / steps:.2f} queries and"
        f" {used / steps * 1000:.1f} ms of processor time a host and step"
    )
    for name, number in counted.most_common(14):
        print(f"  {number / steps:6.2f}  {name}")
