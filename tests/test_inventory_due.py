"""Workers gather facts when they are due: woken by `reconcile`, and after each deployment."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from deploy_manager import dispatch
from deploy_manager.deployments.run import run
from deploy_manager.models import AuditedVersion, IndexedPackage, InstalledPackage, Placement
from deploy_manager.packages.gatherers import Gatherers
from deploy_manager.packages.gathering import gather
from tests.inventory import Inventory
from tests.parts.index import Index
from tests.parts.installed import Machine, Site, make_release
from tests.parts.osv import OsvStub
from tests.parts.processes import free_port
from tests.parts.served import wait_until
from tests.parts.worker import StartWorker, UseBroker

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@dataclass
class Woken:
    """Records what workers were woken for."""

    placements: list[int] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    is_deaf: bool = False

    def note(self, word: str) -> Callable[[], bool]:
        def wake() -> bool:
            self.others.append(word)
            return not self.is_deaf

        return wake

    def take_inventory(self, *placements: int) -> bool:
        self.placements += placements
        return not self.is_deaf

    @property
    def gatherers(self) -> Gatherers:
        return Gatherers(self.take_inventory, self.note("look up"), self.note("audit"))


@pytest.fixture
def woken() -> Woken:
    return Woken()


def test_what_is_due_is_requested_once(inventory: Inventory, woken: Woken) -> None:
    placement = inventory.environment.placements.get()
    InstalledPackage.objects.create(placement=placement, name="django", version="5.2.7")
    assert sum(gather(woken.gatherers).values()) == 3
    assert (woken.placements, woken.others) == ([placement.pk], ["look up", "audit"])
    IndexedPackage.objects.create(name="django", looked_at=timezone.now())
    AuditedVersion.objects.create(name="django", version="5.2.7", tried_at=timezone.now())
    assert not gather(woken.gatherers)


def test_many_servers_are_asked_some_at_a_time(inventory: Inventory, woken: Woken) -> None:
    for number in range(60):
        inventory.add_server(f"web{number}")
    gather(woken.gatherers)
    assert len(woken.placements) == 50
    gather(woken.gatherers)
    assert len(set(woken.placements)) == 61
    assert not gather(woken.gatherers)


def test_what_no_worker_was_woken_for_stays_due(inventory: Inventory, woken: Woken) -> None:
    woken.is_deaf = True
    assert not gather(woken.gatherers)
    woken.is_deaf = False
    assert gather(woken.gatherers)
    assert len(woken.placements) == 2


def test_servers_that_a_deployment_reached_are_asked_at_its_end(
    inventory: Inventory, woken: Woken, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = inventory.environment.placements.get()
    monkeypatch.setattr(dispatch, "GATHERERS", woken.gatherers)
    Placement.objects.update(inventory_tried_at=timezone.now() - timedelta(minutes=1))
    deployment = inventory.request("ping")
    idle = inventory.add_server("two")
    Placement.objects.filter(pk=idle.pk).update(inventory_tried_at=timezone.now())
    run(deployment.pk)
    assert woken.placements == [reached.pk]


def test_a_broker_that_is_away_ends_no_reconcile(
    inventory: Inventory, use_broker: UseBroker
) -> None:
    use_broker(f"redis://127.0.0.1:{free_port()}/0")
    assert not dispatch.gather()
    assert inventory.environment.placements.get().inventory_tried_at is None


@pytest.mark.workers
def test_a_worker_gathers_it_all(
    inventory: Inventory,
    package_index: Index,
    osv: OsvStub,
    settings: Settings,
    embedded_broker: None,
    start_worker: StartWorker,
) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "ADVISORIES": [osv.url]}
    osv.add("PYSEC-2026-1", "shop", fixed="2.0")
    package_index.add("shop", "2.0")
    inventory.environment.index_url = package_index.url
    inventory.environment.save()
    make_release(inventory.folder / "one")
    machine = Machine(inventory.environment.placements.get(), inventory.folder / "one")
    machine.install("shop", "1.0")
    start_worker()
    deployment = dispatch.request(
        inventory.environment, "ping", source="manage.py", requested_by_name="me@here"
    )
    wait_until(lambda: machine.installed == {"shop": "1.0"})
    assert dispatch.gather()
    wait_until(IndexedPackage.objects.filter(name="shop", latest="2.0").exists)
    wait_until(AuditedVersion.objects.filter(advisories__identifier="PYSEC-2026-1").exists)
    deployment.refresh_from_db()
    assert not deployment.is_live


def test_servers_that_are_due_are_one_message(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, ...]] = []

    def send(task: object, *keys: int, **options: object) -> str:
        sent.append(keys)
        return ""

    monkeypatch.setattr(dispatch, "send", send)
    for number in range(3):
        site.add_empty(f"web{number}")
    assert dispatch.gather()
    assert len(sent) == 1
    assert len(sent[0]) == 3
