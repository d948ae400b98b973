"""An environment of a real repository, and what the confirmation page of it sends."""

from pathlib import Path
from typing import Any

from deploy_manager.deployments.decided import describe
from deploy_manager.models import Environment, LockFile, Release
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import make_shop, url


def make_served_shop(folder: Path) -> Inventory:
    """Write an environment on two servers, the first of its repository's two commits live."""
    repository, (first, _) = make_shop(folder / "shop")
    made = make_inventory(folder, repository)
    lock = LockFile.objects.of("a" * 64, "asgiref==3.8.1\ndjango==5.2.1\n")
    release = Release.objects.make(made.environment, first, "Begin", lock)
    for name in ("one", "two"):
        placement = made.add_server(name)
        placement.active_release = release
        placement.save()
    return made


def confirmed(page_of: Inventory, pinned: str = "", **changes: str | list[str]) -> dict[str, Any]:
    """What the page sends when nothing was touched but its button."""
    prefix = f"e{page_of.environment.pk}"
    sent = {
        "confirmed": "on",
        "commit": pinned,
        "ref": "main" if pinned else "",
        "shown_ref": "main" if pinned else "",
        "servers": ["one", "two"],
        "shown_servers": "one,two",
        **changes,
    }
    sent.setdefault("shown_plan", shown_plan(page_of.environment, sent["servers"], bool(pinned)))
    return {f"{prefix}-{name}": value for name, value in sent.items()} | {"_confirm": "1"}


def shown_plan(environment: Environment, servers: str | list[str], takes_pins: bool = False) -> str:
    """What the page says of the rows that decide what runs on these servers."""
    names = [servers] if isinstance(servers, str) else servers
    chosen = environment.placements.filter(server__name__in=names)
    return describe(environment, chosen, pins=takes_pins).save().digest


def run_page(inventory: Inventory, recipe: str = "deploy") -> str:
    return url("environment_run", recipe, on=inventory.environment.pk)
