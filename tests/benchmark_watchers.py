"""`script/test -s tests/benchmark_watchers.py`: 200 clients watch one deployment of 64 servers.

Prints what that costs the manager, which is gunicorn with one process of sixteen threads: requests
a second, how long they take, memory and queries. It asserts nothing about time.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from subprocess import Popen
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from deploy_manager.models import Deployment, State, Step, Token
from tests.inventory import Inventory
from tests.parts.admin import make_user, write_output
from tests.parts.api import BASE, Caller
from tests.parts.processes import free_port
from tests.test_api_watching import on_servers

CLIENTS, SERVERS, SECONDS = 200, 64, 20
EVERY = 1.0
"""Seconds between two polls of a client."""

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def manager(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Run the manager, and yield its port and the process id of its worker."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", "1", "--threads", "16", "--backlog", "512", "--log-level", "error"]
    rate = json.dumps({"API_RATE": "1000000/m"})
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "TEST_DEPLOY_MANAGER": rate,
    }
    process = Popen(
        [*command, "django.core.wsgi:get_wsgi_application()"], env={**os.environ, **variables}
    )
    try:
        wait_until_it_answers(port)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield port, int(children[0])
    finally:
        process.terminate()
        process.wait(30)


def wait_until_it_answers(port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as line:
                ask(line, "health", "")
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            return


def ask(line: HTTPConnection, path: str, secret: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    line.request("GET", BASE + path, headers=headers)
    answer = line.getresponse()
    told: dict[str, Any] = json.loads(answer.read())
    assert answer.status == 200, told
    return told


def memory_of(process: int) -> float:
    """Return the MiB that a process has had at most."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Watchers:
    """Clients that poll a deployment, each by a cursor of its own."""

    def __init__(self, port: int, secret: str, deployment: Deployment) -> None:
        self._port, self._secret, self._deployment = port, secret, deployment
        self.took: list[float] = []
        self.events = 0

    def watch(self, until: float, every: float) -> None:
        after = -1
        with closing(HTTPConnection("127.0.0.1", self._port, timeout=120)) as line:
            while time.monotonic() < until:
                began = time.monotonic()
                path = f"deployments/{self._deployment.pk}/events?after={after}"
                told = ask(line, path, self._secret)
                self.took.append(time.monotonic() - began)
                self.events += len(told["events"])
                after = told["cursor"]
                time.sleep(max(0.0, every - (time.monotonic() - began)))

    def run(self, every: float) -> None:
        until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=self.watch, args=(until, every)) for _ in range(CLIENTS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()


def write_until(over: threading.Event, deployment: Deployment) -> None:
    """Have the servers print, one line after the other."""
    steps = list(Step.objects.filter(host_run__deployment=deployment))
    number = 0
    while not over.is_set():
        write_output(steps[number % len(steps)], b"a line of the log, which goes on and on\n")
        number += 1
        time.sleep(0.05)
    connections.close_all()


def test_two_hundred_clients(inventory: Inventory, tmp_path: Path) -> None:
    boss = make_user("boss", superuser=True)
    _token, secret = Token.objects.issue(boss, name="ci", scopes=["view", "view_log"])
    deployment = on_servers(inventory.environment, SERVERS, State.RUNNING)
    Caller(secret).get("me")
    with CaptureQueriesContext(connection) as queries:
        Caller(secret).get(f"deployments/{deployment.pk}/events", after=deployment.sequence)
    print(f"\n{CLIENTS} clients, {SERVERS} servers, {connection.vendor}")
    print(f"queries of a poll: {len(queries)}")
    with manager(tmp_path) as (port, worker):
        print(f"memory when nobody watches: {memory_of(worker):.0f} MiB")
        for every, name in ((EVERY, f"a poll each {EVERY:.0f} s"), (0.0, "without a pause")):
            over, watchers = threading.Event(), Watchers(port, secret, deployment)
            writer = threading.Thread(target=write_until, args=(over, deployment))
            writer.start()
            watchers.run(every)
            over.set()
            writer.join()
            took = sorted(watchers.took)
            print(
                f"{name}: {len(took) / SECONDS:.0f} requests a second,"
                f" {len(took) * len(queries) / SECONDS:.0f} queries a second,"
                f" median {median(took) * 1000:.0f} ms, of 95 in 100"
                f" {quantiles(took, n=20)[-1] * 1000:.0f} ms;"
                f" {watchers.events} events; memory at most {memory_of(worker):.0f} MiB"
            )
