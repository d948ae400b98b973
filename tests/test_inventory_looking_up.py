"""What an index has of each package that is installed or pinned is looked up, and kept."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deploy_manager.models import Environment, IndexedPackage, InstalledPackage, Requirement
from deploy_manager.packages.looking_up import is_look_up_due, look_up_due
from tests.inventory import Inventory
from tests.parts.index import Index

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def shop(inventory: Inventory, package_index: Index) -> Index:
    """An index with three packages: one is installed, one pinned, and nobody has the third."""
    inventory.environment.index_url = package_index.url
    inventory.environment.save()
    placement = inventory.environment.placements.get()
    InstalledPackage.objects.create(placement=placement, name="shop", version="1.0")
    Requirement.objects.create(environment=inventory.environment, name="boots", version="2.0")
    for name in ("shop", "boots", "unused"):
        package_index.add(name, "1.0")
        package_index.add(name, "2.0")
    return package_index


def row(name: str) -> IndexedPackage:
    return IndexedPackage.objects.get(name=name)


def long_ago(**ago: int) -> None:
    IndexedPackage.objects.update(looked_at=timezone.now() - timedelta(**ago))


def test_what_is_installed_or_pinned_is_looked_up(shop: Index) -> None:
    shop.say("boots", "archived")
    assert is_look_up_due()
    assert look_up_due() == 2
    assert (row("shop").latest, row("shop").status, row("shop").problem) == ("2.0", "active", "")
    assert row("shop").latest_uploaded_at is not None
    assert row("boots").status == "archived"
    assert not IndexedPackage.objects.filter(name="unused").exists()


def test_nobody_is_asked_twice_within_hours(shop: Index) -> None:
    look_up_due()
    asked = len(shop.requests)
    assert not is_look_up_due()
    assert look_up_due() == 0
    assert len(shop.requests) == asked
    long_ago(hours=7)
    assert is_look_up_due()
    shop.add("shop", "3.0")
    assert look_up_due() == 2
    assert row("shop").latest == "3.0"


def test_an_index_that_is_down_leaves_what_is_known_and_is_asked_again_soon(shop: Index) -> None:
    look_up_due()
    long_ago(hours=7)
    shop.down = True
    assert look_up_due() == 0
    assert row("shop").latest == "2.0"
    assert "did not answer about shop" in row("shop").problem
    assert not is_look_up_due()
    shop.down = False
    long_ago(minutes=16)
    assert is_look_up_due()
    assert look_up_due() == 2
    assert row("shop").problem == ""


def test_a_package_that_the_index_does_not_have_is_reported(shop: Index) -> None:
    Requirement.objects.update(name="unheard-of")
    assert look_up_due() == 1
    assert "has no package unheard-of" in row("unheard-of").problem


def test_each_index_is_asked_for_its_own_environments(shop: Index, inventory: Inventory) -> None:
    with Index() as other:
        other.add("shop", "9.0")
        environment = Environment.objects.create(
            project=inventory.environment.project,
            name="other",
            deploy_path="/srv/other",
            index_url=other.url,
        )
        Requirement.objects.create(environment=environment, name="shop", version="9.0")
        look_up_due()
        latest = IndexedPackage.objects.filter(name="shop").values_list("index_url", "latest")
        assert dict(latest) == {shop.url: "2.0", other.url: "9.0"}


def test_at_most_so_many_are_looked_up_at_a_time(shop: Index) -> None:
    assert look_up_due(limit=1) == 1
    assert is_look_up_due()
    assert look_up_due(limit=1) == 1
    assert not is_look_up_due()


def test_a_package_that_is_gone_everywhere_is_left_alone(shop: Index) -> None:
    look_up_due()
    long_ago(hours=7)
    InstalledPackage.objects.all().delete()
    Requirement.objects.all().delete()
    assert not is_look_up_due()
    assert look_up_due() == 0
