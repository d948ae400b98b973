"""The parts, and the sites that are deployed by them while something is broken."""

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from django.db import connection
from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.hosts.address import Stream
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Placement,
    Project,
    Release,
    Server,
)
from tests.chaos.parts import Postgres, Redis, Worker
from tests.chaos.recipes import PIPELINE
from tests.parts.sshd import Sshd, running_sshd

ENDS_WITHIN = 30.0


@dataclass
class World:
    """The parts, the sites, and which demands were not met."""

    folder: Path
    redis: Redis
    postgres: Postgres
    ssh_key: Path
    dice: random.Random
    at_end: ExitStack
    is_short: bool
    demands_pace: bool
    workers: list[Worker] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Demands that were not met, in words."""

    notes: Counter[str] = field(default_factory=Counter)
    """Why deployments ended otherwise than well, and how often."""

    @cached_property
    def sshd(self) -> Sshd:
        """A server that is reached by SSH."""
        return self.at_end.enter_context(running_sshd(self.ssh_key))

    def start_worker(self, pool: str = "threads", concurrency: int = 8) -> Worker:
        """Start a worker; `Worker.wait` returns once it is ready."""
        worker = Worker(self.folder, pool, concurrency)
        self.workers.append(worker)
        return worker

    def end_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def demand(self, is_met: bool, words: str) -> None:
        """Note what was not as it has to be."""
        if not is_met:
            self.broken.append(words)

    # -- sites

    def make_site(self, servers: int = 3, over_ssh: int = 0, **variables: str) -> Environment:
        """Return a new environment on local servers of its own, the first `over_ssh` by SSH."""
        site = f"site-{Environment.objects.count() + 1}"
        project, _ = Project.objects.get_or_create(name="chaos", defaults={"repository": "/none"})
        environment = Environment.objects.create(
            project=project,
            name=site,
            deploy_path=str(self.folder),
            reload_method=Environment.ReloadMethod.NONE,
            health_path="",
            variables=variables,
        )
        for number in range(servers):
            self.add_server(environment, f"{site}-{number}", number < over_ssh)
        return environment

    def add_server(self, environment: Environment, name: str, over_ssh: bool = False) -> Placement:
        """Place a site on a new server with a folder of its own."""
        path = (self.sshd.home if over_ssh else self.folder) / name
        path.mkdir()
        server = Server(name=name, connection=Server.Connection.LOCAL)
        if over_ssh:
            shutil.chown(path, self.sshd.user)
            self.reach(server, self.sshd.address, self.sshd.port)
        server.save()
        return Placement.objects.create(
            environment=environment,
            server=server,
            order=environment.placements.count() + 1,
            own_deploy_path=str(path),
        )

    def reach(self, server: Server, address: str, port: int) -> None:
        """Let a server be the one behind an address."""
        server.connection = Server.Connection.SSH
        server.address, server.port = address, port
        server.user, server.host_key = self.sshd.user, self.sshd.host_key

    def request(self, environment: Environment, recipe: str = PIPELINE) -> Deployment:
        """Ask for a new release on a site."""
        options = DeploymentOptions(release=self.make_release(environment))
        return dispatch.request(
            environment, recipe, source="manage.py", requested_by_name="me", options=options
        )

    def make_release(self, environment: Environment) -> Release:
        number = environment.releases.count() + 1
        lock = LockFile.objects.of("d" * 64, "")
        return Release.objects.create(
            environment=environment, name=f"r{number}", commit="c" * 40, lock=lock
        )

    def request_some(self, number: int, **site: int | str) -> list[Deployment]:
        """Ask for a release on so many new sites; every second one has a server over SSH."""
        return [
            self.request(self.make_site(**{"servers": 2, "over_ssh": each % 2, **site}))  # type: ignore[arg-type]
            for each in range(number)
        ]

    def wait_for_ends(
        self, deployments: Iterable[Deployment], seconds: float, since: datetime | None = None
    ) -> float:
        """Wait until all have ended; return how long that took, and demand that it was in time."""
        since = since or timezone.now()
        pks = [deployment.pk for deployment in deployments]
        mine = Deployment.objects.filter(pk__in=pks)
        live = mine.live()
        wait_until(lambda: not live.exists(), 3 * seconds)
        left = list(live)
        self.demand(not left, f"not ended {3 * seconds:g} s later: {left}")
        ends = mine.exclude(finished_at=None).values_list("pk", "finished_at")
        after = {pk: (end - since).total_seconds() for pk, end in ends if end is not None}
        late = [f"#{pk} ended {took:.1f} s later" for pk, took in after.items() if took > seconds]
        self.demand(not late, ", ".join(late))
        return max([0.0, *after.values()])


class Unheard:
    """A journal for what nobody wants to read."""

    def __call__(self, stream: Stream, data: bytes) -> None: ...

    def note(self, line: bytes) -> None: ...

    def begin_command(self, index: int) -> None: ...


def wait_until(is_so: Callable[[], bool], seconds: float, every: float = 0.1) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


def hang_up() -> None:
    """Let go of the database, where somebody else may have cut the connection."""
    connection.close()
