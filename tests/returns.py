"""What waits and what returns, on the held site and in a second environment of it."""

import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from deploy_manager.deployments.run import run
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Release,
    Server,
    State,
    Upgrade,
    UpgradeStage,
)
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.reconcile import reconcile
from deploy_manager.requirements.pins import Pin, lock_digest
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.requirements.reading import read_pins
from deploy_manager.upgrades.plan import UpgradeOptions, plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.overrides import HeldSite

OLD = ("helper==1.0", "shopkit==1.0")
"""The pins of the repository before any upgrade."""


def serving(held: HeldSite) -> Release:
    release = held.environment.placements.get().active_release
    assert release is not None
    return release


def begin_what_waits() -> None:
    Deployment.objects.filter(state=State.WAITING).update(not_before=None)
    reconcile(lambda pk: None, look=lambda pk: None)


def in_an_hour() -> dict[str, Any]:
    return {"not_before": timezone.now() + timedelta(hours=1)}


def options(version: str = "1.0.2", name: str = "shopkit") -> UpgradeOptions:
    return UpgradeOptions((PinRequest(name, Reach.EXACT, version),), soak=3600)


def upgrade(held: HeldSite, *environments: Environment) -> Upgrade:
    """Request one to 1.0.2, and see its first environment through."""
    return go_on(requested(*environments))


def requested(*environments: Environment, wanted: UpgradeOptions | None = None) -> Upgrade:
    """Request one, to 1.0.2 of shopkit if nothing else is wanted."""
    plan = plan_upgrade(environments, wanted or options())
    return request_upgrade(plan, source="manage.py", requested_by_name="me@here")


def go_on(made: Upgrade) -> Upgrade:
    for _round in range(4):
        for deployment in advance_upgrade(made.pk):
            # The soak is for the next environment: no wave waits for it here.
            Deployment.objects.filter(pk=deployment.pk).update(pause=0)
            run(deployment.pk)
    made.refresh_from_db()
    return made


def stage_of(made: Upgrade, environment: Environment) -> UpgradeStage:
    return made.stages.get(environment=environment)


def another(held: HeldSite, name: str, server: str) -> Environment:
    """Make another environment of the project, on a server of its own, and deploy it."""
    environment = held.environment
    other = Environment.objects.create(
        project=environment.project,
        name=name,
        deploy_path=environment.deploy_path,
        reload_method=environment.reload_method,
        health_path=environment.health_path,
        index_url=environment.index_url,
    )
    folder = held.inventory.folder / server
    folder.mkdir()
    there = Server.objects.create(name=server, connection="local")
    other.placements.create(server=there, roles=["app"], own_deploy_path=str(folder))
    deploy_to(held, other)
    return other


def deploy_to(held: HeldSite, environment: Environment) -> Deployment:
    own, held.environment = held.environment, environment
    try:
        return held.deploy()
    finally:
        held.environment = own


@pytest.fixture
def second(held: HeldSite) -> Environment:
    """Another environment of the project, which has its turn later; both serve shopkit 1.0."""
    held.deploy()
    return another(held, "second", "later")


def listed(environment: Environment) -> dict[str, str]:
    fresh = Environment.objects.get(pk=environment.pk)
    return {pin.name: pin.version for pin in pins_of(fresh)}


def list_by_hand(*environments: Environment) -> None:
    """Let them have lists of pins of their own, with what serves."""
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    for each in environments:
        each.refresh_from_db()
        replace_pins(each, [Pin("helper", "1.0"), Pin("shopkit", "1.0")])


def fail(made: Upgrade, environment: Environment) -> Upgrade:
    """Let an environment whose turn it is fail: other pins than planned serve there."""
    text = secrets.token_hex(8)
    lock = LockFile.objects.of(lock_digest(text), text)
    made.stages.filter(environment=environment).update(opens_at=None, lock_before=lock)
    return go_on(made)


def finish(made: Upgrade) -> Upgrade:
    """Do what `reconcile` and workers do, until nothing is left to do but to wait."""
    for _round in range(5):
        reconcile(lambda pk: None, look=lambda pk: None)
        for deployment in Deployment.objects.busy():
            Deployment.objects.filter(pk=deployment.pk).update(pause=0)
            run(deployment.pk)
    made.refresh_from_db()
    return made


def pins_served(held: HeldSite) -> dict[str, str]:
    return {pin.name: pin.version for pin in read_pins(held.served())}
