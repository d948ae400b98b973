"""Sites on servers of folders, and what is demanded of them whatever died."""

import fcntl
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection

from deploy_manager import tasks
from deploy_manager.models import (
    Deployment,
    Environment,
    HostRun,
    Lock,
    Placement,
    Project,
    Release,
    Server,
    State,
)
from deploy_manager.runner import Wish
from tests.chaos.parts import Redis, Worker
from tests.chaos.recipes import LINES, STORY

ENDS_WITHIN = 30.0
FREE_WITHIN = 5.0
WORDS = ("prepare", "prove", "tidy")


@dataclass
class World:
    """The parts, and the sites that are deployed by them."""

    folder: Path
    redis: Redis
    dice: random.Random
    workers: list[Worker] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Demands that were not met, in words."""

    def start_worker(self, **options: object) -> Worker:
        worker = Worker(self.folder, **options)  # type: ignore[arg-type]
        self.workers.append(worker)
        return worker

    def end_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def make_site(self, servers: int = 3) -> Environment:
        """Return a new environment on servers of its own."""
        site = f"site-{Environment.objects.count() + 1}"
        project, _ = Project.objects.get_or_create(name="chaos", defaults={"repository": "/none"})
        environment = Environment.objects.create(
            project=project,
            name=site,
            deploy_path=str(self.folder),
            reload_method=Environment.ReloadMethod.NONE,
            health_path="",
        )
        for number in range(servers):
            name = f"{site}-{number}"
            path = self.folder / name
            path.mkdir()
            server = Server.objects.create(name=name, connection=Server.Connection.LOCAL)
            Placement.objects.create(
                environment=environment, server=server, order=number, own_deploy_path=str(path)
            )
        return environment

    def request(self, environment: Environment) -> Deployment:
        """Ask for a new release on a site."""
        number = environment.releases.count() + 1
        lock = Lock.objects.of("d" * 64, "")
        release = Release.objects.create(
            environment=environment, name=f"r{number}", commit="c" * 40, lock=lock
        )
        wish = Wish(release=release)
        return tasks.request(environment, STORY, door="manage.py", requested_as="me", wish=wish)

    def demand(self, is_met: bool, words: str) -> None:
        if not is_met:
            self.broken.append(words)

    def wait_for_ends(self, deployments: Iterable[Deployment], seconds: float) -> float:
        """Wait until all have ended; return how long that took, and demand that it was in time."""
        began = time.monotonic()
        left = {deployment.pk for deployment in deployments}
        while left and time.monotonic() - began < 3 * seconds:
            left &= set(Deployment.objects.live().filter(pk__in=left).values_list("pk", flat=True))
            time.sleep(0.1)
        took = time.monotonic() - began
        self.demand(not left, f"{sorted(left)} had not ended after {3 * seconds:g} s")
        self.demand(took <= seconds, f"the last one ended after {took:.1f} s")
        return took

    def judge(self, deployment: Deployment) -> State:
        """Compare what the rows say with what stands on the servers."""
        deployment.refresh_from_db()
        for run in deployment.host_runs.select_related("placement"):
            self._judge_host(deployment, run)
        once = [
            word for run in deployment.host_runs.all() for word in self._told(run, deployment)
        ].count("begin once")
        self.demand(once <= 1, f"#{deployment.pk}: what runs once ran {once} times")
        state = State(deployment.state)
        hosts = set(deployment.host_runs.values_list("state", flat=True))
        if state is State.SUCCEEDED:
            self.demand(hosts == {State.SUCCEEDED}, f"#{deployment.pk} succeeded with {hosts}")
            self.demand(once == 1, f"#{deployment.pk} succeeded, and ran `once` {once} times")
        return state

    def _judge_host(self, deployment: Deployment, run: HostRun) -> None:
        who = f"#{deployment.pk} on {run.server_name}"
        told = Counter(self._told(run, deployment))
        twice = [words for words, times in told.items() if times > 1]
        self.demand(not twice, f"{who}: done twice: {twice}")
        release = deployment.release
        current = self._path(run) / "current"
        if current.is_symlink():
            complete = (current / ".complete").exists()
            self.demand(complete, f"{who}: current leads to {current.readlink()}")
        self.demand(run.state not in ("queued", "running"), f"{who} is {run.state} for ever")
        if run.state == State.SUCCEEDED and release:
            serves = current.is_symlink() and current.readlink().name == release.name
            self.demand(serves, f"{who} succeeded, but does not serve {release}")
            missing = [word for word in WORDS if told[f"end {word}"] != 1]
            self.demand(not missing, f"{who} succeeded without the end of {missing}")
            self._judge_log(run, who)

    def _judge_log(self, run: HostRun, who: str) -> None:
        """Every line of every step is stored, once and in order."""
        printed = b"".join(
            run.log_chunks.filter(stream=1).order_by("position").values_list("data", flat=True)
        ).decode()
        lines = [line for line in printed.splitlines() if line.partition(" ")[0] in WORDS]
        wanted = [f"{word} {number}" for word in WORDS for number in range(1, LINES + 1)]
        self.demand(lines == wanted, f"{who}: {len(lines)} lines in the log, not {len(wanted)}")

    def _told(self, run: HostRun, deployment: Deployment) -> list[str]:
        file = self._path(run) / "told"
        lines = file.read_text().splitlines() if file.exists() else []
        release = deployment.release.name if deployment.release else ""
        return [line.rpartition(" ")[0] for line in lines if line.endswith(f" {release}")]

    def _path(self, run: HostRun) -> Path:
        return self.folder / run.server_name

    def demand_free_locks(self, deployments: Iterable[Deployment]) -> float:
        """Demand that every deploy path's lock is free soon; return how long the last one took."""
        runs = HostRun.objects.filter(deployment__in=list(deployments))
        locks = [self._path(run) / ".deploy" / "lock" for run in runs]
        began = time.monotonic()
        held = [lock for lock in locks if not is_free(lock)]
        while held and time.monotonic() - began < 3 * FREE_WITHIN:
            time.sleep(0.1)
            held = [lock for lock in held if not is_free(lock)]
        took = time.monotonic() - began
        self.demand(not held, f"{len(held)} locks were never free")
        self.demand(took <= FREE_WITHIN, f"the last lock was free after {took:.1f} s")
        return took


def is_free(lock: Path) -> bool:
    """Whether nobody holds a lock."""
    if not lock.exists():
        return True
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def hang_up() -> None:
    """Let go of the database, where somebody else may have cut the connection."""
    connection.close()
