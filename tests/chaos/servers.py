"""What is true on one server at every moment: which release serves, and who holds it."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any

from deploy_manager.addresses import address_of
from deploy_manager.deployments.orders import site_of
from deploy_manager.exceptions import ServerBusy
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.guard_line import Work
from deploy_manager.hosts.guarded import GuardedHost, open_guarded
from deploy_manager.models import Placement
from deploy_manager.recipes import get_recipe
from tests.chaos.world import Unheard, World

READER = Path(__file__).with_name("reader.py")
CLEANS_EVERY = 10
TOLD_WITHIN = 2.0


def place_of(world: World, over_ssh: bool) -> tuple[Placement, Address, Work]:
    """Return a new server, and the work of a manager there."""
    placement = world.make_site(1, over_ssh=int(over_ssh)).placements.get()
    work = Work(
        folder=f"{placement.deploy_path}/.deploy",
        python=sys.executable if not over_ssh else "python3",
        key=uuid.uuid4().hex,
        deployment=1,
        begin_number=1,
        token=1,
        who="one",
        what="a switch",
    )
    return placement, address_of(placement.server), work


def current_read(world: World, count: int) -> str:
    """By the real recipe, while releases are made and old ones removed around it."""
    placement, address, work = place_of(world, over_ssh=False)
    host = open_guarded(address, work, Unheard(), Event())
    began = time.monotonic()
    try:
        switch(host, placement, world, 1)
        with reading(placement) as seen:
            for number in range(count):
                switch(host, placement, world, number * 10 + 10)
    finally:
        host.close()
    took = time.monotonic() - began
    world.demand(not seen["missing"], f"current was missing {seen['missing']} times")
    world.demand(not seen["incomplete"], f"{seen['incomplete']} incomplete targets")
    world.demand(seen["targets"] > count // 2, f"only {seen['targets']} targets were seen")
    return (
        f"{seen['reads']} reads in {took:.0f} s ({seen['reads'] / took:.0f} a second):"
        f" {seen['targets']} targets, {seen['missing']} missing, {seen['incomplete']} incomplete"
    )


def switch(host: GuardedHost, placement: Placement, world: World, step: int) -> None:
    """Make a release, switch to it, and now and then remove old ones."""
    site = site_of(placement, world.make_release(placement.environment))
    host.begin_step(step)
    for part in (site.release_path, f"{site.release_path}/venv"):
        host.run(f"mkdir -p {part} && touch {part}/.complete")
    names = ["activate"] + (["clean_up"] if world.dice.random() < 1 / CLEANS_EVERY else [])
    for number, name in enumerate(names, 1):
        host.begin_step(step + number)
        get_recipe(name).function(host, site)


@contextmanager
def reading(placement: Placement) -> Iterator[dict[str, int]]:
    """Read `current` all the time; what was seen is there after the block."""
    seen: dict[str, int] = {}
    reader = subprocess.Popen(
        [sys.executable, "-I", "-S", READER, f"{placement.deploy_path}/current"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield seen
    finally:
        printed, _ = reader.communicate(timeout=20)
        seen |= json.loads(printed)


@dataclass
class Attempt:
    """How it went for one of two managers."""

    held: bool
    took: float
    said: str = ""


def managers_raced(world: World, count: int) -> str:
    """Two managers with keys of their own begin at the same moment, locally or over SSH."""
    longest, ties = 0.0, 0
    with ThreadPoolExecutor(2) as pool:
        for race in range(count):
            placement, address, work = place_of(world, over_ssh=race % 2 == 1)
            works = [replace(work, who=who, key=uuid.uuid4().hex) for who in ("alice", "bob")]
            start, over = Barrier(2), Event()
            tries = [
                pool.submit(try_to_hold, address, each, start, over, placement.deploy_path)
                for each in works
            ]
            attempts: list[Any] = [each.result(60) for each in tries]
            winners = [works[n].who for n, attempt in enumerate(attempts) if attempt.held]
            world.demand(len(winners) == 1, f"race {race}: held by {winners or 'nobody'}")
            ties += not winners
            twice = Path(placement.deploy_path, "twice").exists()
            world.demand(not twice, f"race {race}: both worked at once")
            for attempt in attempts:
                if not attempt.held and winners:
                    longest = max(longest, attempt.took)
                    is_told = winners[0] in attempt.said and "a switch" in attempt.said
                    world.demand(is_told, f"race {race}: told only {attempt.said!r}")
    world.demand(longest <= TOLD_WITHIN, f"told after {longest:.2f} s")
    return f"never two, {ties} times nobody; the loser was told who within {longest:.2f} s"


def try_to_hold(address: Address, work: Work, start: Barrier, over: Event, folder: str) -> Attempt:
    """Try to work on a server; whoever may stays until the other one was told."""
    start.wait()
    began = time.monotonic()
    try:
        host = open_guarded(address, work, Unheard(), Event())
    except ServerBusy as error:
        over.set()
        return Attempt(False, time.monotonic() - began, str(error))
    try:
        with host.cd(folder):
            host.run("mkdir held || touch twice; sleep 0.05; rmdir held || touch twice")
        over.wait(5)
    finally:
        host.close()
    return Attempt(True, time.monotonic() - began)
