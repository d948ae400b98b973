"""The guestbook on machines of its own: the rows of its servers, tiers and processes."""

import secrets
from pathlib import Path
from typing import Protocol

from deploy_manager.models import Environment, Placement, Process, Project, Server, Tier

SITE = "guestbook/production"
NAME = "guestbook.example.org"
PORT = 8080
"""Not 80: whatever serves there listens on this machine's own addresses."""

ROLES = {
    "app1": ["app", "worker"],
    "app2": ["app", "worker"],
    "app3": ["app"],
    "app4": ["app"],
    "static1": ["static"],
    "db1": ["database", "cache", "broker"],
}
FIFTH = "app5"


class Machine(Protocol):
    """What the rows need to know of a machine."""

    @property
    def address(self) -> str: ...

    port: int
    host_key: str


def make_environment(repository: Path) -> Environment:
    """Write the site: Apache with mod_wsgi, nginx before it, PostgreSQL behind it."""
    project = Project.objects.create(
        name="guestbook",
        repository=str(repository),
        requirements_file="requirements-tiers.txt",
    )
    environment = Environment.objects.create(
        project=project,
        name="production",
        deploy_path="/srv/guestbook",
        settings_module="config.tiers",
        variables={"ALLOWED_HOSTS": NAME, "SECRET_KEY": secrets.token_urlsafe(50)},
        installer=Environment.Installer.UV,
        reload_method=Environment.ReloadMethod.TOUCH,
        bind=f"{{address}}:{PORT}",
        health_path="/health/",
        health_text='"status": "ok"',
        health_host=NAME,
        strategy=Environment.Strategy.WAVES,
        rollback_on_failure=True,
    )
    for name, kind in {"worker": Process.Kind.WORKER, "beat": Process.Kind.BEAT}.items():
        environment.processes.create(name=name, kind=kind, roles=["worker"])
    here = {"listen": [f"http://{{address}}:{PORT}"], "names": [NAME]}
    for tier in (
        Tier(kind="nginx", roles=["static"], **here),
        Tier(kind="apache", roles=["app"], **here),
        Tier(kind="postgresql"),
        Tier(kind="memcached"),
        Tier(kind="redis", roles=["broker"]),
    ):
        tier.environment = environment
        tier.full_clean()
        tier.save()
    return environment


def replace_server(name: str, machine: Machine) -> None:
    """Let a server be another machine from now on, about which nothing is known."""
    server = Server.objects.get(name=name)
    server.address, server.port, server.host_key = machine.address, machine.port, machine.host_key
    server.save()


def add_server(environment: Environment, name: str, machine: Machine, roles: list[str]) -> None:
    """Write a server that nobody has set up yet: only root can log in there."""
    server = Server.objects.create(
        name=name,
        address=machine.address,
        port=machine.port,
        user="deploy",
        bootstrap_user="root",
        # Whoever started the machine knows its key.
        host_key=machine.host_key,
    )
    Placement.objects.create(
        environment=environment,
        server=server,
        roles=roles,
        order=environment.placements.count() + 1,
    )
