"""A site whose pins are in its repository, and overrides over them; a folder is a server."""

import secrets
from dataclasses import replace
from typing import Any

import pytest

from deploy_manager.deployments.prepare import Prepared, prepare
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Deployment,
    Environment,
    LockFile,
    Override,
    Release,
    State,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.recipes import Uses, registry
from deploy_manager.requirements.pins import lock_digest
from deploy_manager.requirements.reading import read_pins
from tests.inventory import Inventory, claim, make_inventory
from tests.parts.index import Index
from tests.parts.repository import Repository
from tests.upgrades import FUNCTIONS

ADVISORY = "PYSEC-2026-1"


class HeldSite:
    """`shop/production` on the server `one`; its repository pins shopkit 1.0 and helper 1.0."""

    def __init__(self, inventory: Inventory, repository: Repository, index: Index) -> None:
        self.inventory = inventory
        self.repository = repository
        self.index = index
        self.environment = inventory.environment

    def pin(self, *lines: str) -> str:
        """Commit these pins; return the commit."""
        files = {"requirements.txt": "".join(f"{line}\n" for line in lines), "manage.py": ""}
        return self.repository.commit("Pins", files | {"made.txt": secrets.token_hex(8)})

    def serve(self, *lines: str, repository: tuple[str, ...] = ()) -> Release:
        """Let the server serve these pins, as a worker notes it; no server is touched."""
        locks = [
            LockFile.objects.of(lock_digest(text), text)
            for text in ("".join(f"{line}\n" for line in of) for of in (lines, repository or lines))
        ]
        release = Release.objects.make(self.environment, self.repository.head, "", *locks)
        self.environment.placements.update(active_release=release, complete_releases=[release.name])
        return release

    def hold(self, version: str, *before: str, name: str = "shopkit", **fields: Any) -> Override:
        """Write an override as an upgrade does."""
        return Override.objects.create(
            environment=self.environment, name=name, version=version, before=[*before], **fields
        )

    def is_vulnerable(self, version: str, name: str = "shopkit") -> None:
        advisory, _made = Advisory.objects.get_or_create(identifier=ADVISORY, package=name)
        audited, _made = AuditedVersion.objects.get_or_create(name=name, version=version)
        audited.advisories.add(advisory)

    def upgrade(self, *lines: str, state: UpgradeState = UpgradeState.RUNNING) -> UpgradeStage:
        """Write an upgrade from what serves to these pins, as it stands when it is done."""
        release = self.environment.placements.get().active_release
        assert release is not None
        text = "".join(f"{line}\n" for line in lines)
        upgrade = Upgrade.objects.create(wanted=[], requested_by_name="me@here", source="manage.py")
        return UpgradeStage.objects.create(
            upgrade=upgrade,
            number=1,
            environment=self.environment,
            state=state,
            lock_before=release.lock,
            lock_after=LockFile.objects.of(lock_digest(text), text),
            release_before=release,
        )

    def request(self, recipe: str = "deploy", **requests: Any) -> Deployment:
        return request(
            self.environment,
            recipe,
            source="manage.py",
            requested_by_name="me@here",
            options=DeploymentOptions(**requests),
        )

    def prepared(self, deployment: Deployment | None = None) -> Prepared:
        """What a worker finds out before any server; the deployment is ended after it."""
        deployment = deployment or self.request()
        try:
            return prepare(claim(deployment))
        finally:
            deployment.end(State.FAILED)

    def pins_of_the_next(self, deployment: Deployment | None = None) -> dict[str, str]:
        """What the next deployment would install."""
        release = self.prepared(deployment).release
        assert release is not None
        return {pin.name: pin.version for pin in read_pins(release.lock.text)}

    def deploy(self, **requests: Any) -> Deployment:
        """Ask for a deployment and see it through."""
        return self.see_through(self.request(**requests))

    def see_through(self, deployment: Deployment) -> Deployment:
        run(deployment.pk)
        deployment.refresh_from_db()
        return deployment

    def live(self) -> dict[str, str]:
        return dict(self.environment.overrides.live().values_list("name", "version"))

    def served(self) -> str:
        return (self.inventory.folder / "one/current/lock").read_text()


@pytest.fixture
def held(repository: Repository, package_index: Index, own_recipes: None, db: None) -> HeldSite:
    """Nothing is deployed yet; the index has more of both packages."""
    for name, function in FUNCTIONS.items():
        uses = {"checkout_latest": Uses.NEW, "install_requirements": Uses.NEWEST}.get(name)
        known = registry._recipes[name]
        registry._recipes[name] = replace(known, function=function, uses=uses or known.uses)
    for version in ("1.0", "1.0.2", "1.1"):
        package_index.add("shopkit", version, requires=("helper",))
    package_index.add("shopkit", "2.0", requires=("helper>=2",))
    for version in ("1.0", "2.0"):
        package_index.add("helper", version)
    inventory = make_inventory(repository.path.parent / "sites", str(repository.path))
    inventory.folder.mkdir()
    inventory.add_server("one")
    Environment.objects.update(index_url=package_index.url)
    inventory.environment.refresh_from_db()
    site = HeldSite(inventory, repository, package_index)
    site.pin("helper==1.0", "shopkit==1.0")
    return site
