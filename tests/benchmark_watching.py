"""`script/test -s tests/benchmark_watching.py`: what it costs to ask servers what runs.

Prints seconds, and the CPU time of the worker and of a server; asserts nothing about time.
"""

import subprocess
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from deploy_manager.hosts.address import Address
from deploy_manager.models import Placement, SeenProcess
from deploy_manager.watching.asking import Place, start_on
from deploy_manager.watching.looking import look_at_all
from tests.parts.installed import Site
from tests.watching import end_what_was_started, leave_a_deployment, serve

COMMANDS = {f"p{number}": "sleep 600" for number in range(4)}
ROUNDS = 10


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("servers", [1, 10, 100])
def test_seconds_for_servers(site: Site, servers: int) -> None:
    for number in range(servers):
        leave_a_deployment(site.add_empty(f"web{number}").folder, "r1", **COMMANDS)
    serve(site.environment, "r1")
    for when in ("the first time", "when nothing changed"):
        began, cpu = time.perf_counter(), time.process_time()
        problems = look_at_all(Placement.objects.all())
        took, worked = time.perf_counter() - began, time.process_time() - cpu
        assert not any(problems.values())
        print(f"\n{servers} servers: {took:.2f} s {when}, {worked:.2f} s of the worker's CPU")
    assert SeenProcess.objects.count() == servers * len(COMMANDS)


def test_milliseconds_on_a_server(tmp_path: Path) -> None:
    leave_a_deployment(tmp_path, "r1", **COMMANDS)
    start_on(Place(Address("here", local=True), str(tmp_path), "python3"))
    program = str(tmp_path / ".deploy/processes.pyz")
    before = getrusage(RUSAGE_CHILDREN)
    for _round in range(ROUNDS):
        words = ["python3", "-I", "-S", "-X", "utf8", program, "look", str(tmp_path)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    after = getrusage(RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(f"\n{used / ROUNDS * 1000:.0f} ms of a server's CPU for {len(COMMANDS)} processes")
    end_what_was_started(tmp_path)
