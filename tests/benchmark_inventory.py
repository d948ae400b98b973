"""`script/test -s tests/benchmark_inventory.py`: how long servers take to tell what is installed.

Prints medians; asserts nothing about time.
"""

import statistics
import time

import pytest

from deploy_manager.models import InstalledPackage
from deploy_manager.packages.inventory import take_inventories
from tests.parts.installed import Site

ROUNDS, PACKAGES = 3, 150


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("servers", [1, 4, 64])
def test_seconds_for_servers(site: Site, servers: int) -> None:
    packages = {f"package_{number}": "1.0" for number in range(PACKAGES)}
    for number in range(servers):
        site.add(f"web{number}", **packages)
    took = []
    for _round in range(ROUNDS):
        InstalledPackage.objects.all().delete()
        began = time.perf_counter()
        problems = take_inventories(site.environment.placements.all())
        took.append(time.perf_counter() - began)
        assert not any(problems.values())
        assert InstalledPackage.objects.count() == servers * PACKAGES
    began = time.perf_counter()
    take_inventories(site.environment.placements.all())
    again = time.perf_counter() - began
    print(
        f"\n{servers} servers with {PACKAGES} packages: {statistics.median(took):.2f} s the first"
        f" time ({', '.join(f'{each:.2f}' for each in took)}), {again:.2f} s when nothing changed"
    )
