"""One function for each fault. Each returns what was seen, in a line; demands go to the world."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

from django.db import connection

from deploy_manager import tasks
from deploy_manager.models import Deployment, HostRun, Slice, State, Step
from tests.chaos.parts import Worker
from tests.chaos.world import ENDS_WITHIN, World, hang_up, wait_until

AT_ONCE = 10
"""Deployments that run side by side: each of them is a run of its own for a fault."""


def worker_killed(world: World, count: int) -> str:
    """1, 10: the worker's whole tree is killed at a random moment; another takes over."""
    states: Counter[str] = Counter()
    longest = freed = 0.0
    for first in range(0, count, AT_ONCE):
        deployments = [world.request(world.make_site()) for _ in range(min(AT_ONCE, count - first))]
        worker = world.start_worker().wait()
        time.sleep(world.dice.uniform(0.0, 4.0))
        worker.kill()
        world.start_worker().wait()
        longest = max(longest, world.wait_for_ends(deployments, ENDS_WITHIN))
        world.end_workers()
        freed = max(freed, world.demand_free_locks(deployments))
        states.update(world.judge(deployment) for deployment in deployments)
    return f"{told(states)}; the last ended {longest:.1f} s, locks free {freed:.1f} s later"


def holder_stopped(world: World, count: int) -> str:
    """4: the holder is stopped past its lease, another takes over, and the first one goes on."""
    states: Counter[str] = Counter()
    for first in range(0, count, AT_ONCE):
        deployments = [world.request(world.make_site()) for _ in range(min(AT_ONCE, count - first))]
        stopped = world.start_worker().wait()
        time.sleep(world.dice.uniform(0.3, 3.0))
        stopped.tell(signal.SIGSTOP)
        world.start_worker().wait()
        world.wait_for_ends(deployments, ENDS_WITHIN)
        before = [world.judge(deployment) for deployment in deployments]
        rows = snapshot(deployments)
        stopped.tell(signal.SIGCONT)
        time.sleep(3)
        world.demand(snapshot(deployments) == rows, "the old holder wrote to the rows")
        after = [world.judge(deployment) for deployment in deployments]
        world.demand(before == after, "the old holder changed a server")
        states.update(after)
        world.end_workers()
    return told(states)


def cancelled(world: World, count: int) -> str:
    """15: cancelled at a random moment; never called so while anything runs."""
    states: Counter[str] = Counter()
    longest = 0.0
    world.start_worker().wait()
    for first in range(0, count, AT_ONCE):
        deployments = [world.request(world.make_site()) for _ in range(min(AT_ONCE, count - first))]
        time.sleep(world.dice.uniform(0.0, 3.0))
        for deployment in deployments:
            deployment.request_cancel("the boss")
        longest = max(longest, world.wait_for_ends(deployments, 15.0))
        for deployment in deployments:
            if world.judge(deployment) is State.CANCELLED:
                running = deployment.host_runs.filter(steps__state=State.RUNNING)
                world.demand(not running.exists(), f"#{deployment.pk} is cancelled, and runs")
        world.demand_free_locks(deployments)
        states.update(State(deployment.state) for deployment in deployments)
    world.end_workers()
    return f"{told(states)}; the last ended {longest:.1f} s after the wish"


def bells_repeated(world: World, count: int) -> str:
    """3: every message is delivered five times, to eight workers."""
    for _ in range(8):
        world.start_worker(concurrency=4)
    for worker in world.workers:
        worker.wait()
    deployments = [world.request(world.make_site(1)) for _ in range(count)]
    for deployment in deployments:
        for _ in range(4):
            tasks.ring(deployment.pk)
    took = world.wait_for_ends(deployments, max(ENDS_WITHIN, count * 1.5))
    states = Counter(world.judge(deployment) for deployment in deployments)
    claims = Slice.objects.filter(deployment__in=deployments).values_list("taken_over", flat=True)
    world.demand(not any(claims), f"{sum(map(bool, claims))} were taken over from the living")
    world.end_workers()
    return f"{told(states)}; {count} deployments, {5 * count} messages, {took:.0f} s"


def redis_killed(world: World, count: int) -> str:
    """5: Redis is killed with everything queued in it; it comes back empty."""
    deployments = [world.request(world.make_site(1)) for _ in range(count)]
    world.redis.kill()
    time.sleep(2)
    world.redis.start()
    world.redis.wait()
    back = time.monotonic()
    world.start_worker(concurrency=16).wait()

    def all_began() -> bool:
        return not Deployment.objects.filter(pk__in=ids(deployments), state=State.QUEUED).exists()

    world.demand(wait_until(all_began, 60), "some had not begun 60 s after Redis was back")
    began = time.monotonic() - back
    world.wait_for_ends(deployments, 60)
    states = Counter(world.judge(deployment) for deployment in deployments)
    world.demand(states[State.SUCCEEDED] == count, f"not all succeeded: {told(states)}")
    world.end_workers()
    return f"{told(states)}; the last began {began:.1f} s after it was back"


def database_cut(world: World, count: int) -> str:
    """6: PostgreSQL ends every connection in the middle."""
    states: Counter[str] = Counter()
    longest = 0.0
    world.start_worker().wait()
    for first in range(0, count, AT_ONCE):
        deployments = [world.request(world.make_site()) for _ in range(min(AT_ONCE, count - first))]
        time.sleep(world.dice.uniform(0.2, 3.0))
        end_connections()
        longest = max(longest, world.wait_for_ends(deployments, 60))
        states.update(world.judge(deployment) for deployment in deployments)
    world.end_workers()
    return f"{told(states)}; the last ended {longest:.1f} s later"


def worker_leaves(world: World, count: int) -> str:
    """2: a worker is told to end (SIGTERM), and hands over."""
    states: Counter[str] = Counter()
    longest = 0.0
    for first in range(0, count, AT_ONCE):
        deployments = [world.request(world.make_site()) for _ in range(min(AT_ONCE, count - first))]
        leaving = world.start_worker().wait()
        time.sleep(world.dice.uniform(0.2, 3.0))
        leaving.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        world.start_worker().wait()
        ready = time.monotonic() - began
        world.demand(ready < 10, f"a worker served after {ready:.1f} s only")
        longest = max(longest, world.wait_for_ends(deployments, ENDS_WITHIN))
        world.end_workers()
        states.update(world.judge(deployment) for deployment in deployments)
    world.demand(set(states) <= {State.SUCCEEDED}, f"handed over, but {told(states)}")
    return f"{told(states)}; the last ended {longest:.1f} s later"


def child_killed(world: World, count: int) -> str:
    """2: a child of the prefork pool is killed, as the kernel does when memory runs out."""
    states: Counter[str] = Counter()
    longest = 0.0
    worker = world.start_worker(pool="prefork", concurrency=4).wait()
    for first in range(0, count, 4):
        deployments = [world.request(world.make_site()) for _ in range(min(4, count - first))]
        time.sleep(world.dice.uniform(0.2, 2.0))
        kill_children(worker)
        longest = max(longest, world.wait_for_ends(deployments, ENDS_WITHIN))
        states.update(world.judge(deployment) for deployment in deployments)
    world.end_workers()
    return f"{told(states)}; the last ended {longest:.1f} s later"


def many_hosts(world: World, count: int) -> str:
    """17: 200 servers over four workers, of which one is killed."""
    states: Counter[str] = Counter()
    longest = 0.0
    for _ in range(count):
        for _ in range(4):
            world.start_worker(concurrency=2)
        for worker in world.workers:
            worker.wait()
        deployment = world.request(world.make_site(200))
        time.sleep(world.dice.uniform(1.0, 15.0))
        world.dice.choice(world.workers).kill()
        longest = max(longest, world.wait_for_ends([deployment], 180))
        states[world.judge(deployment)] += 1
        world.end_workers()
    return f"{told(states)}; the longest took {longest:.0f} s"


def soak(world: World, count: int) -> str:
    """18: deployments in a loop; nothing grows."""
    worker = world.start_worker().wait()
    environments = [world.make_site(2) for _ in range(4)]
    seen = []
    for number in range(0, count, len(environments)):
        deployments = [world.request(environment) for environment in environments]
        world.wait_for_ends(deployments, 60)
        for deployment in deployments:
            world.demand(world.judge(deployment) is State.SUCCEEDED, f"#{deployment.pk} failed")
        if number >= count // 3:
            seen.append(sizes(worker.process.pid))
    world.end_workers()
    first, last = seen[0], seen[-1]
    world.demand(last[0] < first[0] * 1.2 + 20, f"memory grew from {first[0]} to {last[0]} MiB")
    world.demand(last[1] <= first[1] + 10, f"files grew from {first[1]} to {last[1]}")
    world.demand(last[2] <= first[2] + 10, f"threads grew from {first[2]} to {last[2]}")
    return f"MiB, files, threads: {first} at a third, {last} at the end"


ROWS = {
    "1": (worker_killed, 200, 10),
    "2a": (worker_leaves, 50, 5),
    "2b": (child_killed, 50, 4),
    "3": (bells_repeated, 500, 20),
    "4": (holder_stopped, 100, 5),
    "5": (redis_killed, 200, 20),
    "6": (database_cut, 50, 5),
    "15": (cancelled, 100, 10),
    "17": (many_hosts, 10, 0),
    "18": (soak, 300, 0),
}
"""The fault's number; what breaks things, how often, and how often in the short form."""


def told(states: "Counter[State] | Counter[str]") -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(states.items()))


def ids(deployments: list[Deployment]) -> list[int]:
    return [deployment.pk for deployment in deployments]


def snapshot(deployments: list[Deployment]) -> list[object]:
    """All that the rows say."""
    of_them = {"deployment__in": ids(deployments)}
    hosts = HostRun.objects.filter(**of_them)
    return [
        list(Deployment.objects.filter(pk__in=ids(deployments)).order_by("pk").values()),
        list(Slice.objects.filter(**of_them).order_by("pk").values()),
        list(Step.objects.filter(host_run__in=hosts).order_by("pk").values()),
    ]


def end_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    hang_up()


def kill_children(worker: Worker) -> None:
    for pid in worker.children:
        os.kill(pid, signal.SIGKILL)


def sizes(pid: int) -> tuple[int, int, int]:
    """MiB of memory, open files, and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    threads = next(line for line in status.splitlines() if line.startswith("Threads"))
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(rss.split()[1]) >> 10, files, int(threads.split()[1])
