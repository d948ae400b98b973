"""The JSON that `ansible-inventory --list` and inventory scripts print."""

from deploy_manager.inventories.ansible_hosts import read_hosts
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import Inventory
from deploy_manager.inventories.source import Source
from deploy_manager.inventories.values import mapping_of


def _looks_like(source: Source) -> bool:
    return any("_meta" in mapping_of(row) for row in source.rows)


def _read(source: Source) -> Inventory:
    listed = next(iter(source.rows), None)
    return read_hosts(mapping_of(listed))


FORMAT = Format("ansible-list", "ansible-inventory --list", _looks_like, _read, is_json=True)
