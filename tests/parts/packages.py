"""Servers with packages: what was seen, pinned, looked up and audited, as plain rows."""

import re
from datetime import timedelta
from html import unescape
from typing import NamedTuple

from django.test import Client
from django.utils import timezone

from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Environment,
    IndexedPackage,
    InstalledPackage,
    Placement,
    Project,
    Requirement,
    Server,
)
from tests.parts.admin import url

MATRIX = "installedpackage_changelist"


class Seen(NamedTuple):
    """A cell of the matrix, as a visitor sees it."""

    kind: str
    title: str
    version: str
    words: str


def look(client: Client, **query: object) -> str:
    """Open the matrix."""
    answer = client.get(url(MATRIX, **query))
    assert answer.status_code == 200
    return answer.content.decode()


def cells_of(page: str, name: str) -> list[Seen]:
    """The cells of a package's row that have something in them."""
    row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', page, re.DOTALL)
    assert row, f"{name} has no row"
    found = re.findall(r'<td data-is="(.*?)" title="(.*?)">(.*?) <small>(.*?)</small>', row[1])
    return [
        Seen(kind, unescape(title), re.sub(r"<.*?>", "", html), words)
        for kind, title, html, words in found
    ]


def make_environment(name: str, *servers: str, project: str = "shop") -> Environment:
    """Write an environment with local servers; those that are there already serve it, too."""
    owner, _made = Project.objects.get_or_create(name=project, repository="/nowhere/shop.git")
    environment = Environment.objects.create(
        project=owner, name=name, deploy_path=f"/srv/{project}/{name}"
    )
    for order, server in enumerate(servers, 1):
        machine, _made = Server.objects.get_or_create(
            name=server, connection=Server.Connection.LOCAL
        )
        Placement.objects.create(environment=environment, server=machine, order=order)
    return environment


def place(environment: Environment, server: str) -> Placement:
    return environment.placements.get(server__name=server)


def see(placement: Placement, *packages: str, hours_ago: int = 1, python: str = "3.12.4") -> None:
    """Write what a server was seen to have installed: `django==5.2.1`."""
    placement.inventory_at = placement.inventory_tried_at = timezone.now() - timedelta(
        hours=hours_ago
    )
    placement.implementation, placement.python_version = "CPython", python
    placement.platform = "linux-x86_64"
    placement.save()
    placement.installed.all().delete()
    InstalledPackage.objects.bulk_create(
        InstalledPackage(placement=placement, name=name, version=version)
        for name, version in map(_split, packages)
    )


def pin(environment: Environment, *packages: str) -> None:
    """Write pins, with markers where they have one: `tzdata==2025.1 ; sys_platform == "win32"`."""
    for package in packages:
        text, _semicolon, marker = package.partition(" ; ")
        name, version = _split(text)
        Requirement.objects.create(
            environment=environment, name=name, version=version, marker=marker
        )


def index(*packages: str, days_old: int = 10, index_url: str = "", status: str = "") -> None:
    """Write the latest versions that a package index has."""
    now = timezone.now()
    for name, version in map(_split, packages):
        IndexedPackage.objects.create(
            index_url=index_url,
            name=name,
            latest=version,
            latest_uploaded_at=now - timedelta(days=days_old, hours=1),
            status=status,
            looked_at=now,
        )


def audit(*packages: str, problem: str = "") -> None:
    """Write that these versions were checked and nothing was found, or why they were not."""
    checked = None if problem else timezone.now()
    AuditedVersion.objects.bulk_create(
        AuditedVersion(
            name=name,
            version=version,
            checked_at=checked,
            tried_at=timezone.now(),
            problem=problem,
        )
        for name, version in map(_split, packages)
    )


def advise(
    identifier: str, package: str, *versions: str, fixed_in: tuple[str, ...] = ()
) -> Advisory:
    """Write an advisory that these versions of a package are affected by."""
    advisory = Advisory.objects.create(
        identifier=identifier,
        package=package,
        summary=f"Something is wrong with {package}.",
        fixed_in=list(fixed_in),
        aliases=["CVE-2026-0001"],
        url=f"https://advisories.example.org/{identifier}",
    )
    for version in versions:
        audited, _made = AuditedVersion.objects.get_or_create(
            name=package, version=version, defaults={"checked_at": timezone.now()}
        )
        audited.advisories.add(advisory)
    return advisory


def _split(package: str) -> tuple[str, str]:
    name, _equals, version = package.partition("==")
    return name, version
