"""Where pages are: for links from pages that need nothing else of them."""

from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from django.urls import reverse

from deploy_manager.models import UpgradeStage

LONGEST_ID = 18
"""Digits; a longer number is none that a database gave."""

PATCH_URL_NAME = "deploy_manager_upgradestage_patch"
COMMIT_URL_NAME = "deploy_manager_upgradestage_commit"


def run_url(recipe: str, environments: list[int], servers: Sequence[str] = ()) -> str:
    """The page that shows what a recipe would do on these environments, and on which servers."""
    query = {"on": ",".join(map(str, environments)), "server": list(servers)}
    address = reverse("admin:deploy_manager_environment_run", args=[recipe])
    return f"{address}?{urlencode(query, doseq=True, safe=',')}"


def start_url(environments: Iterable[int], packages: Iterable[str] = ()) -> str:
    """The page that begins an upgrade, with what it asks filled in."""
    query = {"package": list(packages), "environment": list(environments)}
    return f"{reverse('admin:deploy_manager_upgrade_add')}?{urlencode(query, doseq=True)}"


def upgrade_url(pk: int) -> str:
    return reverse("admin:deploy_manager_upgrade_change", args=[pk])


def patch_url(stage: UpgradeStage) -> str:
    return reverse(f"admin:{PATCH_URL_NAME}", args=[stage.pk])
