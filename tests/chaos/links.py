"""Links that swallow, reset, lose and crawl, and servers that accept and say nothing."""

import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.utils import timezone

from deploy_manager.models import Deployment, HostRun, LogChunk, Server, State
from tests.chaos.dying import MOST, batches, pks
from tests.chaos.judging import judge_all, path_of, told
from tests.chaos.wire import Link, open_link
from tests.chaos.world import World, wait_until
from tests.parts.sshd import running_sshd

NOTICED_WITHIN = 20.0
RESOLVED_WITHIN = 60.0
NOTE = re.compile(rb"was lost and restored after ([0-9.]+) s")


def link_broken(disturb: Callable[[World, Link], None], most: int, world: World, count: int) -> str:
    """Disturb the link to servers at a random moment of their deployments, `most` at once."""
    states: Counter[State] = Counter()
    longest = noticed = 0.0
    notes = 0
    link = world.at_end.enter_context(open_link(world.dice))
    options = {"ListenAddress": link.address}
    world.sshd = link.within(
        lambda: world.at_end.enter_context(running_sshd(world.ssh_key, **options))
    )
    world.start_worker(concurrency=10).wait()
    for number in batches(count, most):
        deployments = world.request_some(number, over_ssh=1, CHAOS_STAY="1")
        cut = timezone.now()
        if disturb is not crawl and disturb is not lose:
            time.sleep(world.dice.uniform(0.2, MOST + 2))
            cut = timezone.now()
        disturb(world, link)
        back = timezone.now()
        longest = max(longest, world.wait_for_ends(deployments, RESOLVED_WITHIN, back))
        resolve(world, deployments, back)
        link.loss = link.bytes_a_second = 0.0
        states += judge_all(world, deployments)
        for deployment in deployments:
            demand_success(world, deployment)
        for seconds in notifications(deployments, cut):
            notes += 1
            noticed = max(noticed, seconds)
    world.end_workers()
    world.demand(noticed <= NOTICED_WITHIN, f"noticed after {noticed:.1f} s")
    return (
        f"{told(states)}; {notes} connections lost, noticed within {noticed:.1f} s; the last ended"
        f" {longest:.1f} s after the link's return"
    )


def demand_success(world: World, deployment: Deployment) -> None:
    """Demand success, but for servers that could not be logged in to: nothing was begun there."""
    failed = deployment.host_runs.filter(state=State.FAILED)
    for run in failed.select_related("placement"):
        untouched = not (path_of(run) / "told").exists()
        world.demand(untouched, f"{deployment} failed on {run.server_name}: {run.message}")
    is_true = deployment.state == State.SUCCEEDED or failed.exists()
    world.demand(is_true, f"{deployment} is {deployment.state}: {deployment.message}")


def notifications(deployments: list[Deployment], cut: datetime) -> list[float]:
    """After how many seconds each loss was noticed, by what the log says of it."""
    mine = LogChunk.objects.filter(deployment__in=pks(deployments), stream=0, created_at__gt=cut)
    return [
        (chunk.created_at - timedelta(seconds=float(found[1])) - cut).total_seconds()
        for chunk in mine
        for found in NOTE.finditer(chunk.data)
    ]


def resolve(world: World, deployments: list[Deployment], back: datetime) -> None:
    """Demand that no server is *lost* any more a minute after its link is back."""
    lost = HostRun.objects.filter(deployment__in=pks(deployments), state=State.LOST)
    left = RESOLVED_WITHIN - (timezone.now() - back).total_seconds()
    wait_until(lambda: not lost.exists(), max(left, 1.0))
    world.demand(not lost.exists(), f"{lost.count()} servers are still lost")


def swallow(world: World, link: Link) -> None:
    link.is_cut = True
    time.sleep(world.dice.uniform(18.0, 30.0))
    link.is_cut = False


def reset(world: World, link: Link) -> None:
    link.resets = True
    time.sleep(0.5)
    link.resets = False


def kill_sshd(world: World, link: Link) -> None:
    world.sshd.cut_connections()


def lose(world: World, link: Link) -> None:
    link.loss = 0.1


def crawl(world: World, link: Link) -> None:
    link.bytes_a_second = 64_000 / 8


LINKS = {
    "7-hole": partial(link_broken, swallow, 10),
    "7-reset": partial(link_broken, reset, 5),
    "7-loss": partial(link_broken, lose, 5),
    "7-slow": partial(link_broken, crawl, 2),
    "7-sshd": partial(link_broken, kill_sshd, 5),
}


def server_silent(world: World, count: int) -> str:
    """sshd that never greets, that stalls the login, and whose channel hangs; beside a good one."""
    world.start_worker().wait()
    deaf = world.at_end.enter_context(socket.create_server(("127.0.0.1", 0)))
    start = partial(running_sshd, world.ssh_key)
    stalls = world.at_end.enter_context(
        start(
            AuthorizedKeysFile="none",
            AuthorizedKeysCommand="/usr/bin/sleep 300",
            AuthorizedKeysCommandUser="root",
        )
    )
    hangs = world.at_end.enter_context(start(ForceCommand="exec sleep 300"))
    kinds = {
        "never greets": (deaf.getsockname()[1], world.sshd.host_key, 20.0),
        "stalls the login": (stalls.port, stalls.host_key, 35.0),
        "hangs": (hangs.port, hangs.host_key, 60.0),
    }
    seen = []
    for _ in range(count):
        asked = {kind: request_beside(world, port, key) for kind, (port, key, _) in kinds.items()}
        world.wait_for_ends(asked.values(), 90)
        for kind, deployment in asked.items():
            seen.append(judge_silent(world, kind, deployment, kinds[kind][2]))
    return "; ".join(seen)


def request_beside(world: World, port: int, host_key: str) -> Deployment:
    """Ask for a deployment to a server that is no good, and to one that is."""
    environment = world.make_site(2, over_ssh=1)
    server = Server.objects.get(placements__environment=environment, connection="ssh")
    server.port, server.host_key = port, host_key
    server.save()
    return world.request(environment)


def judge_silent(world: World, kind: str, deployment: Deployment, most: float) -> str:
    """Demand that the bad server failed in time, and that the good one was not slowed."""
    bad = deployment.host_runs.get(placement__server__connection="ssh")
    good = deployment.host_runs.exclude(pk=bad.pk).get().steps.get(phase="prepare")
    took = {
        name: (row.finished_at - row.started_at).total_seconds()
        if row.finished_at and row.started_at
        else 0.0
        for name, row in (("bad", bad), ("good", good))
    }
    is_true = bad.state in (State.FAILED, State.LOST)
    world.demand(is_true, f"{kind}: {bad.state}, {bad.message}")
    world.demand(took["bad"] <= most, f"{kind}: released after {took['bad']:.1f} s only")
    is_unharmed = good.state == State.SUCCEEDED and took["good"] < 10
    world.demand(is_unharmed, f"{kind}: the other server {good.state} in {took['good']:.1f} s")
    return f"{kind}: released after {took['bad']:.1f} s, the other server took {took['good']:.1f} s"
