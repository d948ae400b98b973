"""Upgrades over local servers: real resolver, index and links; a folder stands for an install."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Release,
    State,
    Upgrade,
    UpgradeStage,
)
from deploy_manager.recipes import Host, Site, Uses, registry
from deploy_manager.reconcile import reconcile
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_digest, lock_text
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.plan import UpgradeOptions, plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.inventory import Inventory
from tests.parts.index import Index
from tests.parts.kept import KeptSites

QUIET = (
    "make_virtualenv",
    "build",
    "collect_static",
    "check",
    "smoke",
    "migrate",
    "reverse_migrations",
    "reload",
    "clean_up",
)
PATIENCE = 60.0
"""Seconds."""

SERVERS = ("one", "two", "three", "four")


class Site4:
    """`shop/production` on four servers that serve shopkit 1.0, and an index with more."""

    def __init__(self, inventory: Inventory, index: Index) -> None:
        self.inventory = inventory
        self.index = index
        self.environment = inventory.environment

    def serve(self, asked: str, environment: Environment | None = None) -> Release:
        """Let every server serve the newest pins that fit these requirements."""
        environment = environment or self.environment
        text = lock_text(complete_pins(asked, index_url=self.index.url))
        lock = LockFile.objects.of(lock_digest(text), text)
        release = Release.objects.make(environment, "c" * 40, "Begin", lock)
        deployment = request(
            environment,
            "upgrade",
            source="manage.py",
            requested_by_name="me@here",
            options=DeploymentOptions(release=release),
        )
        run(deployment.pk)
        deployment.refresh_from_db()
        assert deployment.state == State.SUCCEEDED, deployment.message
        return release

    def options(self, name: str, reach: Reach = Reach.LATEST, version: str = "") -> UpgradeOptions:
        return UpgradeOptions((PinRequest(name, reach, version),))

    def upgrade(self, options: UpgradeOptions, *others: Environment) -> Upgrade:
        """Ask for an upgrade, here last, and see it through."""
        return self.see_through(self.request(options, *others))

    def request(self, options: UpgradeOptions, *others: Environment) -> Upgrade:
        """Ask for an upgrade, here last, that nobody works on yet."""
        plan = plan_upgrade([*others, self.environment], options)
        return request_upgrade(plan, source="manage.py", requested_by_name="me@here")

    def see_through(self, upgrade: Upgrade) -> Upgrade:
        """Do what workers and `reconcile` do until it ends or nothing can be done any more."""
        until = time.monotonic() + PATIENCE
        is_moving = True
        while is_moving and time.monotonic() < until:
            written = advance_upgrade(upgrade.pk)
            reconcile(lambda shard_id: None)
            busy = list(Deployment.objects.busy().values_list("pk", flat=True))
            for pk in busy:
                run(pk)  # returns at once where a worker has it
            upgrade.refresh_from_db()
            is_moving = upgrade.is_live and bool(written or busy)
        return upgrade

    def folder(self, server: str) -> Path:
        return self.inventory.folder / server

    def served(self, server: str) -> str:
        """The lock that a server serves, read from the server itself."""
        return (self.folder(server) / "current/lock").read_text()

    def everywhere(self, pin: str, servers: tuple[str, ...] = SERVERS) -> bool:
        """Whether every server serves a pin."""
        return all(pin in self.served(server) for server in servers)

    def stage(self, upgrade: Upgrade) -> UpgradeStage:
        return upgrade.stages.get(environment=self.environment)


def _unpack(host: Host, site: Site) -> None:
    for folder in (site.release_path, f"{site.release_path}/venv"):
        host.run(f"mkdir -p {folder} && touch {folder}/.complete")


def _install(host: Host, site: Site) -> None:
    host.run(f"test ! -e {site.deploy_path}/full")
    host.put(site.lock.encode(), f"{site.release_path}/lock")


def _verify(host: Host, site: Site) -> None:
    """A version that is broken shows when it serves."""
    host.run(f"! grep -q broken {site.current_path}/lock")
    host.run(f"test ! -e {site.deploy_path}/ill || ! grep -q 'shopkit==2' {site.current_path}/lock")


def _nothing(host: Host, site: Site) -> None:
    host.run("true")


FUNCTIONS: dict[str, Callable[[Host, Site], None]] = {
    "checkout_latest": _unpack,
    "install_requirements": _install,
    "verify": _verify,
    **dict.fromkeys(QUIET, _nothing),
}


@pytest.fixture
def quick_recipes(own_recipes: None) -> None:
    """The recipes of an upgrade without code, virtualenv and pip."""
    for name, function in FUNCTIONS.items():
        uses = Uses.NEWEST if name in ("checkout_latest", "install_requirements") else None
        known = registry._recipes[name]
        registry._recipes[name] = replace(known, function=function, uses=uses or known.uses)


@pytest.fixture
def four(
    inventory: Inventory, quick_recipes: None, package_index: Index, kept_sites: KeptSites
) -> Site4:
    """Four servers that serve shopkit 1.0 and its helper; the index has more of both."""
    package_index.add("shopkit", "1.0", requires=("helper",))
    package_index.add("helper", "1.0")
    site = Site4(inventory, package_index)

    def make() -> None:
        for name in SERVERS[1:]:
            inventory.add_server(name)
        Environment.objects.update(index_url=package_index.url)
        inventory.environment.refresh_from_db()
        site.serve("shopkit\n")

    kept_sites.begin("four", inventory, make, [package_index.url])
    return site
