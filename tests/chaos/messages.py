"""Messages that come too often or not at all, and a database that goes away."""

import signal
import time
from collections import Counter

from django.db import connection
from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.models import Deployment, HostRun, Shard, State
from tests.chaos.dying import MOST, batches, pks
from tests.chaos.judging import done_on, judge_all, told
from tests.chaos.world import World, hang_up, wait_until

TIMES = 5
WORKERS = 8


def messages_repeated(world: World, count: int) -> str:
    """Every message is delivered five times, to eight workers."""
    sites = [world.make_site(1) for _ in range(min(count, 50))]
    for _ in range(3 if world.is_short else WORKERS):
        world.start_worker(concurrency=4)
    for worker in world.workers:
        worker.wait()
    states: Counter[State] = Counter()
    began = time.monotonic()
    for number in batches(count, len(sites)):
        deployments = [world.request(site, "chaos_word") for site in sites[:number]]
        for _ in range(TIMES - 1):
            for deployment in deployments:
                for pk in deployment.shards.values_list("pk", flat=True):
                    dispatch.wake_for_shard(pk)
        world.wait_for_ends(deployments, max(30.0, number * 1.5))
        states += judge_words(world, deployments)
        claims = Shard.objects.filter(deployment__in=pks(deployments)).values_list("token")
        world.demand(set(claims) == {(1,)}, f"claimed more than once: {set(claims)}")
    took = time.monotonic() - began
    needless = "is not free to claim: nothing to do"
    wait_until(lambda: sum(w.says(needless) for w in world.workers) >= count * (TIMES - 1), 20)
    sent_home = sum(worker.says(needless) for worker in world.workers)
    world.demand(states[State.SUCCEEDED] == count, f"not all succeeded: {told(states)}")
    world.demand(sent_home >= count * (TIMES - 1), f"{sent_home} messages found nothing to do")
    return (
        f"{told(states)}; {count} claims of {TIMES * count} messages, {sent_home} found nothing to"
        f" do, {took:.0f} s"
    )


def judge_words(world: World, deployments: list[Deployment]) -> Counter[State]:
    """Demand that the one command of each deployment was run once, by the servers' files."""
    runs = HostRun.objects.filter(deployment__in=pks(deployments))
    for run in runs.select_related("placement", "deployment__release"):
        times = done_on(run, run.deployment)["word"]
        world.demand(times == 1, f"#{run.deployment_id} on {run.server_name}: run {times} times")
    return Counter(State(Deployment.objects.get(pk=each.pk).state) for each in deployments)


def redis_killed(world: World, count: int) -> str:
    """With everything queued in it; it comes back empty."""
    sites = [world.make_site(1) for _ in range(count)]
    workers = [world.start_worker(concurrency=8).wait() for _ in range(2)]
    for worker in workers:
        worker.tell(signal.SIGSTOP)  # so that all is queued, and nothing taken, when Redis dies
    deployments = [world.request(site, "chaos_word") for site in sites]
    world.redis.kill()
    for worker in workers:
        worker.tell(signal.SIGCONT)
    time.sleep(2)
    world.redis.start()
    world.redis.wait()
    back = timezone.now()
    mine = Deployment.objects.filter(pk__in=pks(deployments))
    world.wait_for_ends(deployments, 120)
    starts = [start for start in mine.values_list("started_at", flat=True) if start]
    last = (max(starts) - back).total_seconds() if starts else 0.0
    world.demand(len(starts) == count, f"{len(starts)} of {count} began")
    world.demand(last <= 60, f"the last began {last:.1f} s after Redis was back")
    states = judge_words(world, deployments)
    world.demand(states[State.SUCCEEDED] == count, f"not all succeeded: {told(states)}")
    return f"{told(states)}; the last began {last:.1f} s after Redis was back"


def database_away(world: World, count: int) -> str:
    """In turn: every connection ended by the server, a fast restart, a restart after a crash."""
    states: Counter[State] = Counter()
    longest = 0.0
    world.start_worker(concurrency=5).wait()
    ways = (end_connections, signal.SIGINT, signal.SIGQUIT)
    for round_, number in enumerate(batches(count, 5)):
        deployments = world.request_some(number)
        time.sleep(world.dice.uniform(0.2, MOST))
        way = ways[round_ % len(ways)]
        hang_up()
        if isinstance(way, signal.Signals):
            world.postgres.restart(way)
        else:
            way()
        cut = timezone.now()
        longest = max(longest, world.wait_for_ends(deployments, 60, cut))
        states += judge_all(world, deployments)
    return f"{told(states)}; the last ended {longest:.1f} s later"


def end_connections() -> None:
    """Have PostgreSQL hang up on everybody."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    hang_up()
