"""Workers that die, stop, leave or are told to cancel, at random moments."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from threading import Event

from django.utils import timezone

from deploy_manager.deployments.orders import orders_for
from deploy_manager.deployments.prepare import prepare_again
from deploy_manager.exceptions import ClaimLost
from deploy_manager.hosts.guarded import open_guarded
from deploy_manager.models import Deployment, HostRun, LogChunk, Shard, State, Step
from deploy_manager.site_secrets import NO_SECRETS
from tests.chaos.judging import (
    demand_free_locks,
    judge_all,
    path_of,
    processes_in,
    told,
)
from tests.chaos.parts import Worker
from tests.chaos.world import ENDS_WITHIN, Unheard, World, wait_until

AT_ONCE = 10
"""Deployments that run side by side: each of them is a run of its own for a fault."""

MOST = 4.0
"""Seconds in which a deployment of the chaos mostly ends, undisturbed."""


def batches(count: int, most: int = AT_ONCE) -> Iterator[int]:
    for first in range(0, count, most):
        yield min(most, count - first)


def worker_killed(world: World, count: int) -> str:
    """The whole tree at once; a worker that was started after it takes over."""
    states: Counter[State] = Counter()
    longest = freed = 0.0
    held = 0
    for number in batches(count):
        deployments = world.request_some(number)
        worker = world.start_worker().wait()
        time.sleep(world.dice.uniform(0.0, MOST))
        held += held_by(worker)
        worker.kill_tree()
        killed = timezone.now()
        world.start_worker().wait()
        longest = max(longest, world.wait_for_ends(deployments, ENDS_WITHIN, killed))
        freed = max(freed, demand_free_locks(world, deployments))
        world.end_workers()
        states += judge_all(world, deployments)
    return (
        f"{told(states)}; {held} were held when it died; the last ended {longest:.1f} s after it,"
        f" locks were free {freed:.1f} s later; {lines_stored()} lines of log, each once, in order"
    )


def holder_stopped(world: World, count: int) -> str:
    """Past its lease. It goes on while the new owner works, or when that one has ended."""
    states: Counter[State] = Counter()
    refused = tried = 0
    for number in batches(count):
        deployments = world.request_some(number)
        stopped = world.start_worker().wait()
        time.sleep(world.dice.uniform(0.3, MOST))
        stopped.tell(signal.SIGSTOP)
        world.start_worker().wait()
        if world.dice.random() < 0.5:
            wait_until(lambda: bool(taken_over(deployments)), ENDS_WITHIN)  # noqa: B023
            time.sleep(world.dice.uniform(0.0, 1.0))
            stopped.tell(signal.SIGCONT)
        world.wait_for_ends(deployments, ENDS_WITHIN)
        before, rows = servers_of(deployments), rows_of(deployments)
        stopped.tell(signal.SIGCONT)
        time.sleep(3)
        world.demand(rows_of(deployments) == rows, "the old holder wrote to the rows")
        world.demand(servers_of(deployments) == before, "the old holder changed a server")
        for run in HostRun.objects.filter(shard__in=taken_over(deployments)):
            tried += 1
            refused += is_refused(run)
        world.end_workers()
        states += judge_all(world, deployments)
    world.demand(refused == tried, f"{tried - refused} old tokens were welcomed")
    return f"{told(states)}; {refused} of {tried} old tokens refused by the servers"


def is_refused(run: HostRun) -> bool:
    """Whether a server refuses the token that the holder before had."""
    orders = orders_for(run.pk, prepare_again(run.deployment), NO_SECRETS)
    stale = replace(orders.work, token=orders.work.token - 1)
    try:
        open_guarded(orders.address, stale, Unheard(), Event()).close()
    except ClaimLost:
        return True
    return False


def cancelled(world: World, count: int) -> str:
    """At a random moment, some with processes that ignore SIGTERM."""
    states: Counter[State] = Counter()
    ended: list[float] = []
    dead: list[float] = []
    world.start_worker(concurrency=AT_ONCE).wait()
    for number in batches(count):
        stubborn = {"CHAOS_STUBBORN": "1"} if world.dice.random() < 0.3 else {}
        deployments = world.request_some(number, CHAOS_STAY="30", **stubborn)
        time.sleep(world.dice.uniform(0.0, MOST))
        for deployment in deployments:
            deployment.request_cancel("the boss")
        took = watch_the_cancelled(world, deployments)
        ended.append(world.wait_for_ends(deployments, 15.0, deployments[0].cancel_requested_at))
        dead.append(took)
        demand_free_locks(world, deployments)
        states += judge_all(world, deployments)
    world.end_workers()
    return (
        f"{told(states)}; ended {max(ended):.1f} s after the request at the latest"
        f" (median {median(ended):.1f} s), the last process was gone after {max(dead):.1f} s"
    )


def watch_the_cancelled(world: World, deployments: list[Deployment]) -> float:
    """Demand that none is called cancelled while it runs; return when no process was left."""
    began, gone = time.monotonic(), 0.0
    runs = HostRun.objects.filter(deployment__in=pks(deployments)).select_related("placement")
    folders = {path_of(run): run for run in runs}
    while time.monotonic() - began < 45:
        ended = set(
            HostRun.objects.filter(pk__in=[run.pk for run in runs], state=State.CANCELLED)
            .exclude(deployment__state=State.RUNNING)
            .values_list("pk", flat=True)
        )
        running = processes_in(folders)
        wrong = [str(folder) for folder in running if folders[folder].pk in ended]
        world.demand(not wrong, f"called cancelled while it runs: {wrong}")
        if running:
            gone = time.monotonic() - began
        elif not Deployment.objects.live().filter(pk__in=pks(deployments)).exists():
            break
        time.sleep(0.1)
    world.demand(gone <= 15, f"processes lived for {gone:.1f} s")
    return gone


def worker_leaves(world: World, count: int) -> str:
    """SIGTERM: what it runs is handed over; its successor is started at the same moment."""
    states: Counter[State] = Counter()
    longest, waits = 0.0, 0.0
    pools = ("threads", "prefork")
    for round_, number in enumerate(batches(count, 5)):
        pool = pools[round_ % 2]
        leaving = world.start_worker(pool, concurrency=5).wait()
        deployments = world.request_some(number)
        time.sleep(world.dice.uniform(0.2, MOST))
        leaving.process.send_signal(signal.SIGTERM)
        left, began = timezone.now(), time.monotonic()
        world.start_worker().wait()
        probe = world.request(world.make_site(1), "chaos_word")
        world.wait_for_ends([probe], 10.0, left)
        waits = max(waits, time.monotonic() - began)
        longest = max(longest, world.wait_for_ends(deployments, ENDS_WITHIN, left))
        ended = wait_until(lambda: leaving.process.poll() is not None, ENDS_WITHIN)  # noqa: B023
        world.demand(ended, f"a worker of {pool} did not end in {ENDS_WITHIN:g} s")
        world.end_workers()
        states += judge_all(world, deployments)
    world.demand(set(states) <= {State.SUCCEEDED}, f"handed over, but {told(states)}")
    return f"{told(states)}; the last ended {longest:.1f} s later, a new one within {waits:.1f} s"


def child_killed(world: World, count: int) -> str:
    """SIGKILL to the children of a prefork pool; the worker itself goes on."""
    states: Counter[State] = Counter()
    longest = waits = 0.0
    worker = world.start_worker("prefork", concurrency=4).wait()
    for number in batches(count, 4):
        deployments = world.request_some(number)
        time.sleep(world.dice.uniform(0.2, MOST))
        for pid in random.Random(count).sample(worker.children, len(worker.children)):
            os.kill(pid, signal.SIGKILL)
        killed = timezone.now()
        probe = world.request(world.make_site(1), "chaos_word")
        waits = max(waits, world.wait_for_ends([probe], 10.0, killed))
        longest = max(longest, world.wait_for_ends(deployments, ENDS_WITHIN, killed))
        demand_free_locks(world, deployments)
        states += judge_all(world, deployments)
    world.end_workers()
    return f"{told(states)}; the last ended {longest:.1f} s later, a new one within {waits:.1f} s"


# -- what was seen


def pks(deployments: list[Deployment]) -> list[int]:
    return [deployment.pk for deployment in deployments]


def held_by(worker: Worker) -> int:
    """How many shards a worker holds."""
    return Shard.objects.filter(state="held", holder__endswith=f":{worker.process.pid}").count()


def taken_over(deployments: list[Deployment]) -> list[Shard]:
    return list(Shard.objects.filter(deployment__in=pks(deployments), taken_over__gt=0))


def lines_stored() -> int:
    """How many lines of log are stored in all."""
    return sum(bytes(chunk.data).count(b"\n") for chunk in LogChunk.objects.iterator())


def rows_of(deployments: list[Deployment]) -> list[object]:
    """All that the rows say."""
    mine = {"deployment__in": pks(deployments)}
    hosts = HostRun.objects.filter(**mine).order_by("pk")
    return [
        list(Deployment.objects.filter(pk__in=pks(deployments)).order_by("pk").values()),
        list(Shard.objects.filter(**mine).order_by("pk").values()),
        list(hosts.values()),
        list(Step.objects.filter(host_run__in=hosts).order_by("pk").values()),
        LogChunk.objects.filter(**mine).count(),
    ]


def servers_of(deployments: list[Deployment]) -> dict[str, object]:
    """What stands on the servers: what was told, what is current, which commands were begun."""
    found: dict[str, object] = {}
    runs = HostRun.objects.filter(deployment__in=pks(deployments)).select_related("placement")
    for run in runs:
        path = path_of(run)
        current = path / "current"
        found[str(path)] = (
            (path / "told").read_text() if (path / "told").exists() else "",
            current.readlink() if current.is_symlink() else "",
            sorted(each.name for each in path.glob(".deploy/journal/*/*-*")),
        )
    return found
