"""A pipeline that switches between releases which are nothing but empty folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.utils import timezone

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, LockFile, Release, State
from deploy_manager.recipes import Host, Phase, Pipeline, Site, Uses, add_pipeline, recipe, registry
from tests.inventory import Inventory
from tests.parts.admin import write_shard
from tests.parts.kept import KeptSites

PIPELINE = "switch"


@dataclass(frozen=True)
class Switching:
    """An environment whose servers can be switched from one release to the next."""

    inventory: Inventory

    def make_release(self, name: str) -> Release:
        lock = LockFile.objects.of("d" * 64, "")
        return Release.objects.create(
            environment=self.inventory.environment, name=name, commit="c" * 40, lock=lock
        )

    def request(self, release: str) -> Deployment:
        """Ask for a release, which is made where it is not there."""
        found = Release.objects.filter(name=release).first() or self.make_release(release)
        options = DeploymentOptions(release=found)
        environment = self.inventory.environment
        return request(
            environment, PIPELINE, source="manage.py", requested_by_name="me@here", options=options
        )

    def switch_to(self, release: str) -> Deployment:
        deployment = self.request(release)
        run(deployment.pk)
        deployment.refresh_from_db()
        return deployment

    def folder(self, server: str) -> Path:
        return self.inventory.folder / server

    def current(self, server: str) -> str:
        """The release that a server serves, read from the server itself."""
        link = self.folder(server) / "current"
        return link.readlink().name if link.is_symlink() else ""

    def break_server(self, server: str, what: str = "broken") -> None:
        """Let the proof that it serves fail on a server, or `prepare` or `once` there."""
        (self.folder(server) / what).touch()

    def mend_server(self, server: str, what: str = "broken") -> None:
        (self.folder(server) / what).unlink()

    def told(self, server: str) -> list[str]:
        """What was done on a server, in order."""
        file = self.folder(server) / "told"
        return file.read_text().split() if file.exists() else []


def put_pipeline(pipeline: Pipeline) -> None:
    """Have a pipeline as another version of the code has it: none can be replaced otherwise."""
    registry._pipelines[pipeline.name] = pipeline


def activate(inventory: Inventory, release: Release, servers: Sequence[str] = ()) -> None:
    """Write the rows that a deployment leaves which activates a release."""
    now = timezone.now()
    deployment = Deployment.objects.create(
        environment=inventory.environment,
        recipe=PIPELINE,
        release=release,
        state=State.SUCCEEDED,
        started_at=now,
        finished_at=now,
    )
    held = write_shard(deployment)
    for placement in inventory.environment.placements.select_related("server"):
        if not servers or placement.server.name in servers:
            run = deployment.host_runs.create(
                shard=held,
                placement=placement,
                server_name=placement.server.name,
                state=State.SUCCEEDED,
                release_before=placement.active_release,
                was_switched=placement.active_release != release,
                started_at=now,
                finished_at=now,
            )
            for number, name in enumerate(("activate", "verify"), 1):
                run.steps.create(
                    number=number,
                    phase=name,
                    recipe=name,
                    title=name,
                    in_waves=True,
                    state=State.SUCCEEDED,
                    started_at=now,
                    finished_at=now,
                )
            placement.active_release, placement.activated_at = release, now
            placement.save()


@pytest.fixture
def switching(inventory: Inventory, own_recipes: None) -> Switching:
    """The pipeline `switch` on the server `one`, and those that a test adds."""

    def unless(host: Host, site: Site, trouble: str, word: str) -> None:
        host.run(f"cd {site.deploy_path} && echo {word} >>told && test ! -e {trouble}")

    @recipe("Make the release", uses=Uses.GIVEN)
    def make_it(host: Host, site: Site) -> None:
        unless(host, site, "prepare", "prepare")
        for folder in (site.release_path, f"{site.release_path}/venv"):
            host.run(f"mkdir -p {folder} && touch {folder}/.complete")

    @recipe("Prove it")
    def prove_it(host: Host, site: Site) -> None:
        unless(host, site, "broken", "prove")

    @recipe("Tidy up")
    def tidy_up(host: Host, site: Site) -> None:
        unless(host, site, "tidy", "tidy")

    add_pipeline(
        Pipeline(
            PIPELINE,
            "Switch",
            (
                Phase("prepare", "Prepare", ("make_it",), gate=True),
                Phase("activate", "Activate", ("activate",), in_waves=True),
                Phase("verify", "Verify", ("prove_it",), in_waves=True),
                Phase("clean_up", "Clean up", ("tidy_up",)),
            ),
        )
    )
    return Switching(inventory)


THREE = ("one", "two", "three")


@pytest.fixture
def three_old(switching: Switching, kept_sites: KeptSites) -> Switching:
    """Three servers that serve the release `old`."""

    def make() -> None:
        for name in THREE[1:]:
            switching.inventory.add_server(name)
        assert switching.switch_to("old").state == State.SUCCEEDED

    kept_sites.begin("three-old", switching.inventory, make)
    return switching
