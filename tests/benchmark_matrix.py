"""`script/test -s tests/benchmark_matrix.py`: the page of 200 servers and 150 packages, and of
1,000 and 300.

Prints the median of five runs of the whole request: rights, queries, view and page; by the clock,
and of the processor alone, which others on the machine delay less. Asserts nothing about time.
"""

import time
from statistics import median

import pytest
from django.test import Client
from django.utils import timezone

from deploy_manager.models import (
    AuditedVersion,
    Environment,
    IndexedPackage,
    InstalledPackage,
    Placement,
    Requirement,
    Server,
)
from tests.parts.admin import visitor
from tests.parts.packages import advise, look, make_environment

pytestmark = pytest.mark.django_db

ENVIRONMENTS, RUNS = 4, 5
SIZES = ((200, 150), (1000, 300))
QUERIES: tuple[dict[str, str], ...] = (
    {},
    {"only": "all"},
    {"only": "vulnerable"},
    {"runs": "package-000<1.4"},
)


def fill(servers: int, packages: int) -> None:
    """Write servers on which nearly everything is as pinned: one package in fifteen is not."""
    names = [f"package-{number:03d}" for number in range(packages)]
    environments = [make_environment(f"site-{number}") for number in range(ENVIRONMENTS)]
    for environment in environments:
        Requirement.objects.bulk_create(
            Requirement(environment=environment, name=name, version="1.4.2") for name in names
        )
    placements = place_all(environments, servers)
    for column, placement in enumerate(placements):
        InstalledPackage.objects.bulk_create(
            InstalledPackage(placement=placement, name=name, version=installed(row, column))
            for row, name in enumerate(names)
        )
    write_index(names)


def place_all(environments: list[Environment], count: int) -> list[Placement]:
    servers = Server.objects.bulk_create(
        Server(name=f"web-{number:03d}", connection="local") for number in range(count)
    )
    return Placement.objects.bulk_create(
        Placement(
            environment=environments[number % ENVIRONMENTS],
            server=server,
            order=number,
            inventory_at=timezone.now(),
            implementation="CPython",
            python_version="3.12.4",
            platform="linux-x86_64",
        )
        for number, server in enumerate(servers)
    )


def installed(row: int, column: int) -> str:
    return "1.3.9" if row % 15 == 0 and column % 7 == 0 else "1.4.2"


def write_index(names: list[str]) -> None:
    now = timezone.now()
    IndexedPackage.objects.bulk_create(
        IndexedPackage(
            name=name,
            latest="1.5.0" if row % 3 == 0 else "1.4.2",
            latest_uploaded_at=now,
            looked_at=now,
        )
        for row, name in enumerate(names)
    )
    AuditedVersion.objects.bulk_create(
        AuditedVersion(name=name, version=version, checked_at=now)
        for name in names
        for version in ("1.3.9", "1.4.2")
    )
    for row in range(0, len(names), 30):
        advise(f"GHSA-{row}", names[row], "1.3.9", fixed_in=("1.4.0",))


def measure(client: Client, **query: object) -> tuple[float, float, str]:
    """Return the median milliseconds of a page, those of the processor, and the page."""
    took, worked = [], []
    for _run in range(RUNS):
        began, began_work = time.perf_counter(), time.process_time()
        page = look(client, **query)
        took.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - began_work) * 1000)
    return median(took), median(worked), page


@pytest.mark.parametrize(("servers", "packages"), SIZES)
def test_the_matrix(servers: int, packages: int) -> None:
    fill(servers, packages)
    client = visitor("owner")
    for query in QUERIES:
        took, worked, page = measure(client, **query)
        print(
            f"\n{servers} servers x {packages} packages, {query or 'as it opens'}:"
            f" {took:.0f} ms ({worked:.0f} of processor), {page.count('data-is=')} cells,"
            f" {len(page) / 1e6:.1f} MB",
            end="",
        )
    print()
