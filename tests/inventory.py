"""A small environment on local servers, in folders of the test's own."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy_manager.deployments.request import request
from deploy_manager.models import Deployment, Environment, Placement, Project, Server, Shard
from deploy_manager.recipes import Host, Site, recipe, registry


def claim(deployment: Deployment, holder: str = "here:1") -> Shard:
    """Take a deployment of one shard, as a worker does."""
    held = Shard.objects.claim(deployment.shards.get().pk, holder)
    assert held is not None
    return held


@dataclass(frozen=True)
class Inventory:
    """One environment and the servers it stands on."""

    environment: Environment
    folder: Path

    def add_server(self, name: str, roles: tuple[str, ...] = ("app",)) -> Placement:
        """Add a local server with a deploy path of its own."""
        server = Server.objects.create(name=name, connection=Server.Connection.LOCAL)
        path = self.folder / name
        path.mkdir()
        return Placement.objects.create(
            environment=self.environment,
            server=server,
            roles=list(roles),
            order=self.environment.placements.count() + 1,
            own_deploy_path=str(path),
        )

    def request(self, recipe: str = "deploy", ref: str = "") -> Deployment:
        """Write a deployment as the command line does; nobody is told."""
        return request(
            self.environment, recipe, source="manage.py", requested_by_name="me@here", ref=ref
        )


def make_inventory(folder: Path, repository: str = "/nowhere/shop.git") -> Inventory:
    """Write a project `shop` with an environment `production` that has no servers yet."""
    project = Project.objects.create(name="shop", repository=repository)
    environment = Environment.objects.create(
        project=project,
        name="production",
        deploy_path=str(folder),
        reload_method=Environment.ReloadMethod.NONE,
        health_path="",
    )
    return Inventory(environment, folder)


@pytest.fixture
def inventory(tmp_path: Path, db: None) -> Inventory:
    """`shop/production` on one local server, `one`."""
    made = make_inventory(tmp_path)
    made.add_server("one")
    return made


@pytest.fixture
def own_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes and pipelines of one test, gone after it: two to begin with."""
    monkeypatch.setattr(registry, "_recipes", dict(registry._recipes))
    monkeypatch.setattr(registry, "_pipelines", dict(registry._pipelines))

    @recipe("Greet")
    def greet(host: Host, site: Site) -> None:
        host.run(["echo", f"hello from {host.name}"])

    @recipe("Fail on the second")
    def fail_on_the_second(host: Host, site: Site) -> None:
        host.run(["sh", "-c", "echo oops >&2; exit 3"] if host.name == "two" else "true")
