"""`script/test -s tests/benchmark_peers.py`: what people deploy with instead, and ours, in turn.

All deploy the same site with 31 pins to the same four servers behind a real sshd, by the same
commit: unpack it beside, have its virtual environment, collect static files, check, migrate once,
switch, touch the WSGI file, prove what `current` is, remove old releases. Prints medians and ratios
to the bare script; asserts nothing about time. In the environment:

- `ROUNDS`: how many are measured (3); one before them is not.
- `ONLY`: parts of the rows' names, like `S1,pip`; all: `cold,S1,S2,S3 pip,S3 uv`.
- `PEERS`: parts of their names, like `script,ours`.
"""

import os
import statistics
import sys
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.models import Environment, Placement, State
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_digest, lock_text
from tests.big_shop import NAMES, Shop
from tests.parts.peers import (
    LEFT_OUT,
    Order,
    Peer,
    World,
    installed_peers,
    plain_peers,
    run_whole,
)
from tests.parts.step_times import times_of_steps
from tests.parts.worker import StartWorker, UseBroker, environment_of_a_worker

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = int(os.environ.get("ROUNDS", "3"))
ROWS = {
    "cold": "the first one of all, by uv: no code, no environment, empty caches",
    "S1": "code only: the pins of before",
    "S2": "the same commit and pins again",
    "S3 pip": "one of 31 pins moved, a new environment by pip",
    "S3 uv": "one of 31 pins moved, a new environment by uv",
}
ONLY, ONLY_PEERS = os.environ.get("ONLY", ""), os.environ.get("PEERS", "")
FIRST = "bare ssh script"

MANAGE = """
import sys
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
FABFILE = "from deploy_manager.fabfile import *\n"


@dataclass
class Times:
    """Seconds by row and by who took them."""

    seconds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def note(self, row: str, name: str, seconds: float) -> None:
        self.seconds[row][name].append(seconds)

    def told(self) -> str:
        loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
        lines = [f"{os.cpu_count()} processors, load averages {loads}, 4 servers on loopback"]
        for row, by_name in self.seconds.items():
            lines += ["", f"{row}: {ROWS[row]}" if row in ROWS else row]
            bare = statistics.median(by_name[FIRST]) if FIRST in by_name else 0.0
            for name, rounds in by_name.items():
                median = statistics.median(rounds)
                ratio = f"{median / bare:5.2f}" if bare else "     "
                each = " ".join(f"{one:.2f}" for one in rounds)
                lines.append(f"  {name:44} {median:6.2f} s  {ratio}  ({each})")
        lines += ["", *(f"left out: {name}, as {reason}" for name, reason in LEFT_OUT.items())]
        return "\n".join(lines)


@dataclass(frozen=True)
class Ours:
    """`manage.py deploy` with a worker, or `fab`, on an environment of its own."""

    name: str
    environment: Environment
    words: list[str]
    folder: Path
    variables: dict[str, str]

    def deploy(self, row: str, order: Order, times: Times) -> None:
        """Run it to its end."""
        Environment.objects.filter(pk=self.environment.pk).update(installer=order.installer)
        began = time.perf_counter()
        run_whole(self.words, {**os.environ, **self.variables}, self.folder)
        times.note(row, self.name, time.perf_counter() - began)
        made = self.environment.deployments.latest("pk")
        assert made.state == State.SUCCEEDED, made.message
        assert made.started_at
        assert made.finished_at
        worked = (made.finished_at - made.started_at).total_seconds()
        times.note(row, f"{self.name}: what its worker took", worked)
        for name, seconds in times_of_steps(made, worked).items():
            times.note(f"steps of {row}, {self.name}", name, seconds)


@dataclass
class Contest:
    """Everybody who deploys, and what was measured."""

    shop: Shop
    world: World
    folder: Path
    peers: list[Peer]
    ours: list[Ours]
    times: Times = field(default_factory=Times)
    commits: int = 0
    orders: int = 0

    def commit(self) -> None:
        """Write the next commit: code only."""
        self.commits += 1
        self.shop.repository.commit("Round", {"round.txt": str(self.commits)})

    def move_a_pin(self) -> None:
        """Let all of ours have the library's next version."""
        text = f"shopkit=={self.shop.release_a_version()}\n"
        moved = complete_pins(text, index_url=self.world.index_url)
        for our in self.ours:
            others = [pin for pin in pins_of(our.environment) if pin.name != "shopkit"]
            replace_pins(our.environment, [*others, *moved])

    def deploy(self, row: str, installer: str = "uv", *, is_measured: bool = True) -> None:
        """Let everybody deploy what is the newest."""
        order = self.order(installer)
        times = self.times if is_measured else Times()
        for peer in self.peers:
            began = time.perf_counter()
            peer.deploy(self.world, order)
            times.note(row, peer.name, time.perf_counter() - began)
            assert self.is_served(peer.folder), f"{peer.name} did not deploy it."
        for our in self.ours:
            our.deploy(row, order, times)
            assert self.is_served(our.environment.name), f"{our.name} did not deploy it."

    def order(self, installer: str) -> Order:
        """Write down what is to be deployed, with the pins that ours have."""
        text = lock_text(pins_of(self.shop.environment))
        digest = lock_digest(text)[:12]
        lock = self.folder / digest / "requirements.lock"
        lock.parent.mkdir(exist_ok=True, parents=True)
        lock.write_text(text)
        self.orders += 1
        return Order(self.shop.repository.head, lock, digest, installer, self.orders)

    def is_served(self, folder: str) -> bool:
        served = [sshd.home / folder / "current/round.txt" for sshd in self.world.sshds.values()]
        return {file.read_text() for file in served} == {str(self.commits)}


@pytest.fixture
def contest(
    shop: Shop,
    settings: Settings,
    redis_url: str,
    use_broker: UseBroker,
    start_worker: StartWorker,
    tmp_path: Path,
) -> Contest:
    """Nobody has deployed anything yet. A worker in a process of its own waits for ours."""
    environments = ours_on(shop)
    use_broker(redis_url)
    start_worker()
    sshds = dict(zip(NAMES, shop.sshds, strict=True))
    world = World.make(tmp_path / "world", sshds, shop.repository, shop.index.url)
    everybody = plain_peers()
    if any(is_asked_for(name, ONLY_PEERS) for name in ("pyinfra", "Ansible")):
        everybody += installed_peers(tmp_path / "peers", world.ssh_config)
    peers = [peer for peer in everybody if is_asked_for(peer.name, ONLY_PEERS)]
    for peer in peers:
        world.prepare(peer.folder, shop.environment.variables)
    project = tmp_path / "project"
    project.mkdir()
    (project / "manage.py").write_text(MANAGE)
    (project / "fabfile.py").write_text(FABFILE)
    python, fab = sys.executable, str(Path(sys.executable).with_name("fab"))
    variables = environment_of_a_worker(settings)
    all_words = {
        "ours by manage.py": [python, "manage.py", "deploy", "shop/by-manage"],
        "ours by fab": [fab, "by-fab", "deploy"],
    }
    ours = [
        Ours(name, environment, words, project, variables)
        for (name, words), environment in zip(all_words.items(), environments, strict=True)
        if is_asked_for(name, ONLY_PEERS)
    ]
    return Contest(shop, world, tmp_path / "locks", peers, ours)


def ours_on(shop: Shop) -> tuple[Environment, Environment]:
    """Have two environments on the same servers, each in the folder of its name."""
    first = shop.environment
    first.name, first.reload_method = "by-manage", Environment.ReloadMethod.TOUCH
    first.reload_target, first.health_path = "config/wsgi.py", ""
    first.save()
    second = Environment.objects.get(pk=first.pk)
    second.pk, second.key, second.name = None, uuid.uuid4(), "by-fab"
    database = shop.sshds[0].home / "by-fab.sqlite3"
    second.variables = {**first.variables, "DATABASE_PATH": str(database)}
    second.save()
    replace_pins(second, pins_of(first))
    servers = [placement.server for placement in first.placements.order_by("order")]
    first.placements.all().delete()
    for environment in (first, second):
        for number, (server, sshd) in enumerate(zip(servers, shop.sshds, strict=True), 1):
            Placement.objects.create(
                environment=environment,
                server=server,
                order=number,
                own_deploy_path=f"{sshd.home}/{environment.name}",
            )
    return first, second


def is_asked_for(name: str, asked: str) -> bool:
    return not asked or any(part.strip().lower() in name.lower() for part in asked.split(","))


def test_who_deploys_how_fast(contest: Contest) -> None:
    contest.commit()
    contest.deploy("cold", is_measured=is_asked_for("cold", ONLY))
    for number in range(ROUNDS + 1):
        for row in filter(lambda row: is_asked_for(row, ONLY), ("S1", "S2", "S3 pip", "S3 uv")):
            if row.startswith("S3"):
                contest.move_a_pin()
            if row != "S2":
                contest.commit()
            installer = "pip" if row == "S3 pip" else "uv"
            contest.deploy(row, installer, is_measured=number > 0)
    print("\n" + contest.times.told())
