"""Many servers at once, and many deployments one after the other."""

import time
from collections import Counter
from pathlib import Path

from django.conf import settings

from deploy_manager.models import State
from tests.chaos.judging import demand_free_locks, judge, told
from tests.chaos.parts import Worker, descendants
from tests.chaos.world import World

WORKERS = 4


def one_of_four_killed(world: World, count: int) -> str:
    """While 200 servers are shared by four workers."""
    hosts = 12 if world.is_short else 200
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SHARD_HOSTS": hosts // WORKERS}
    states: Counter[State] = Counter()
    longest = 0.0
    for _ in range(count):
        for _ in range(WORKERS):
            world.start_worker(concurrency=2)
        for worker in world.workers:
            worker.wait()
        deployment = world.request(world.make_site(hosts))
        time.sleep(world.dice.uniform(1.0, hosts / 8))
        world.dice.choice(world.workers).kill_tree()
        longest = max(longest, world.wait_for_ends([deployment], 60 + hosts))
        demand_free_locks(world, [deployment])
        states[judge(world, deployment)] += 1
        world.end_workers()
    return f"{hosts} servers: {told(states)}; the longest took {longest:.0f} s after the kill"


def soak(world: World, count: int) -> str:
    """In a loop, on a local server and one over SSH, by one worker."""
    worker = world.start_worker().wait()
    sites = [world.make_site(2, over_ssh=1) for _ in range(min(4, count))]
    sizes = []
    for number in range(0, count, len(sites)):
        deployments = [world.request(site) for site in sites]
        world.wait_for_ends(deployments, 60)
        for deployment in deployments:
            state = judge(world, deployment)
            world.demand(state is State.SUCCEEDED, f"{deployment}: {deployment.message}")
        demand_free_locks(world, deployments)
        if number >= count // 3:
            sizes.append(sizes_of(worker))
    first, last = sizes[0], sizes[-1]
    world.demand(last[0] <= first[0] * 1.1 + 10, f"memory grew from {first[0]} to {last[0]} MiB")
    for index, name in enumerate(("files", "threads", "processes"), 1):
        world.demand(last[index] <= first[index] + 8, f"{name}: {first[index]}, {last[index]}")
    return f"MiB, files, threads, processes: {first} after a third, {last} at the end"


def sizes_of(worker: Worker) -> tuple[int, int, int, int]:
    """MiB of memory, open files, threads and children of a worker, when it is idle."""
    time.sleep(0.5)
    pid = worker.process.pid
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    facts = {line.partition(":")[0]: line.split()[1] for line in lines if line.split()[1:]}
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(facts["VmRSS"]) >> 10, files, int(facts["Threads"]), len(descendants(pid))
