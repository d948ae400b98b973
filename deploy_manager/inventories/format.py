"""What every format has: a name, how it is recognised, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass

from deploy_manager.inventories.found import Inventory
from deploy_manager.inventories.source import Source


@dataclass(frozen=True)
class Format:
    """A kind of file that servers are read from."""

    name: str
    """As it is typed, like `ansible-ini`."""

    label: str
    """As people call it; names of tools, which are the same in every language."""

    looks_like: Callable[[Source], bool]
    """Whether a file is probably one of these; it may raise InventoryError for broken JSON."""

    read: Callable[[Source], Inventory]
    """Runs nothing that the file says. Raises InventoryError for a file that can't be read."""

    is_json: bool | None = False
    """None: it may be."""
