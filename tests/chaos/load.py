"""Visitors who come all the time, while a site is deployed and rolled back."""

import http.client
import random
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version

from deploy_manager import dispatch
from deploy_manager.deployments.choices import choose_release
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.models import Environment, State
from tests.chaos.world import World
from tests.parts.guestbook import end_gunicorns
from tests.parts.processes import free_port
from tests.parts.repository import Repository

SITE = """
import os, time
def application(environ, start_response):
    time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["DEPLOY_RELEASE"].encode()]
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
execute_from_command_line(sys.argv)
"""
SETTINGS = """
SECRET_KEY = "only for tests"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""
FILES = {"manage.py": MANAGE, "site_wsgi.py": SITE, "site_settings.py": SETTINGS}
PACKAGES = ("gunicorn", "django", "asgiref", "sqlparse")
VISITORS = 4


@dataclass
class Visitors:
    """Threads that ask one site, whose servers stand behind a balancer."""

    binds: list[str]
    seen: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=self._visit) for _ in range(VISITORS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _visit(self) -> None:
        while not self.over.wait(0.01):
            try:
                self.seen[self._ask()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{type(error).__name__}: {error}")

    def _ask(self) -> str:
        """Ask as a balancer does: where a server refuses the connection, the next one."""
        binds = random.sample(self.binds, len(self.binds))
        for number, bind in enumerate(binds, 1):
            with closing(http.client.HTTPConnection(bind, timeout=20)) as connection:
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    if number == len(binds):
                        raise
                    continue
                connection.request("GET", "/")
                answer = connection.getresponse()
                if answer.status != 200:
                    raise http.client.HTTPException(f"{answer.status}")
                return answer.read().decode()
        raise http.client.HTTPException("no server")


def visited(world: World, count: int) -> str:
    """On two servers behind a balancer, in waves, and on a single one; deploy, roll back, …"""
    world.start_worker().wait()
    repository = Repository.make(world.folder / "visited")
    pins = "".join(f"{name}=={version(name)}\n" for name in PACKAGES)
    repository.commit("Answer", {**FILES, "requirements.txt": pins})
    sites = [make_site(world, repository, servers) for servers in (2, 1)]
    try:
        for _ in range(2):
            for site in sites:
                deploy(world, site, repository)
        return " | ".join(visit(world, site, repository, count // 2) for site in sites)
    finally:
        for site in sites:
            end_gunicorns(site)


def visit(world: World, site: Environment, repository: Repository, count: int) -> str:
    """Deploy and roll back in turn, under load."""
    visitors = Visitors([placement.bind for placement in site.placements.all()])
    began = time.monotonic()
    try:
        for number in range(count):
            deploy(world, site, repository) if number % 2 == 0 else roll_back(world, site)
    finally:
        visitors.end()
    took = time.monotonic() - began
    servers, asked = len(visitors.binds), sum(visitors.seen.values())
    failed = len(visitors.failed)
    world.demand(not failed, f"{servers} servers: {Counter(visitors.failed).most_common(3)}")
    return (
        f"{servers} servers: {failed} of {asked + failed} requests failed in {took:.0f} s, answered"
        f" by {len(visitors.seen)} releases"
    )


def deploy(world: World, site: Environment, repository: Repository) -> None:
    repository.commit("Next", {"version.txt": str(time.monotonic_ns())})
    end(world, site, "deploy", DeploymentOptions())


def roll_back(world: World, site: Environment) -> None:
    end(world, site, "rollback", DeploymentOptions(release=choose_release(site)))


def end(world: World, site: Environment, recipe: str, options: DeploymentOptions) -> None:
    """Ask, and demand that it succeeds."""
    deployment = dispatch.request(
        site, recipe, source="manage.py", requested_by_name="me", options=options
    )
    world.wait_for_ends([deployment], 120)
    deployment.refresh_from_db()
    words = "; ".join(run.message for run in deployment.host_runs.all())
    world.demand(deployment.state == State.SUCCEEDED, f"{deployment}: {deployment.state}, {words}")


def make_site(world: World, repository: Repository, servers: int) -> Environment:
    """Make a site on gunicorn, whose servers are switched one after the other."""
    site = world.make_site(0)
    site.project.repository = str(repository.path)
    site.project.save()
    site.reload_method = Environment.ReloadMethod.GUNICORN
    site.installer = Environment.Installer.UV
    site.settings_module = "site_settings"
    site.wsgi_application = "site_wsgi:application"
    site.health_path = "/"
    site.strategy, site.canary, site.batch = Environment.Strategy.WAVES, "1", "1"
    site.save()
    for number in range(servers):
        placement = world.add_server(site, f"{site.name}-{number}")
        placement.own_bind = f"127.0.0.1:{free_port()}"
        placement.save()
    return site
