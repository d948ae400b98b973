"""URLs of pages, for links from pages that need nothing else of them."""

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from deploy_manager.models import UpgradeStage

LONGEST_ID = 18
"""Digits; a longer number is beyond what a database has as an id, and SQLite fails on it."""

PATCH_URL_NAME = "deploy_manager_upgradestage_patch"
COMMIT_URL_NAME = "deploy_manager_upgradestage_commit"


def read_id(text: str) -> int | None:
    """Return an id that came with a request; None if the text can't be one."""
    return int(text) if text.isdecimal() and len(text) <= LONGEST_ID else None


def ids_in(request: HttpRequest) -> list[int]:
    """Return the ids of a URL like `?on=1,2`."""
    found = map(read_id, request.GET.get("on", "").split(","))
    return [pk for pk in found if pk is not None]


def run_url(recipe: str, environments: list[int], servers: Sequence[str] = ()) -> str:
    """Return the page that shows what a recipe would do there, and confirms it."""
    query = {"on": ",".join(map(str, environments)), "server": list(servers)}
    address = reverse("admin:deploy_manager_environment_run", args=[recipe])
    return f"{address}?{urlencode(query, doseq=True, safe=',')}"


def site_command_url(environment: int) -> str:
    """Return the page that runs a command of the site's manage.py there."""
    return reverse("admin:deploy_manager_environment_command", args=[environment])


def start_upgrade_url(
    environments: Iterable[int],
    packages: Iterable[str] = (),
    *,
    reach: str = "",
    version: str = "",
    advisory: int | None = None,
) -> str:
    """Return the page that starts an upgrade, with its form filled in.

    `reach` is exact (then with a version), patch, minor, latest or fix.
    """
    query = {
        "package": list(packages),
        "reach": [reach] if reach else [],
        "version": [version] if version else [],
        "environment": list(environments),
        "advisory": [] if advisory is None else [advisory],
    }
    return f"{reverse('admin:deploy_manager_upgrade_add')}?{urlencode(query, doseq=True)}"


def upgrade_url(pk: int) -> str:
    return reverse("admin:deploy_manager_upgrade_change", args=[pk])


def patch_url(stage: UpgradeStage) -> str:
    return reverse(f"admin:{PATCH_URL_NAME}", args=[stage.pk])


def deployment_url(pk: int) -> str:
    return reverse("admin:deploy_manager_deployment_change", args=[pk])
